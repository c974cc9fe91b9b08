/** Answers the call Check: examines both clusters and changes nothing. */
import { readCheckRequest } from '../wire/read-requests.js';
import { encodeCheckResponse } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Examines both clusters for what would stop or endanger a migration. Blockers are an answer, not an error. */
export async function check({ control, request, signal }: Call): Promise<Uint8Array> {
  const options = await readCheckRequest(request, (given) => control.regexViolations(given, signal));
  return encodeCheckResponse(await control.check(options, signal));
}
