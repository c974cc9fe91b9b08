/** Answers the call Start. */
import { readStartRequest } from '../wire/read-requests.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Begins a migration. Answers once it is recorded and running. */
export async function start({ control, request, signal }: Call): Promise<Uint8Array> {
  const options = await readStartRequest(request, (given) => control.regexViolations(given, signal));
  await control.start(options, signal);
  return EMPTY_RESPONSE;
}
