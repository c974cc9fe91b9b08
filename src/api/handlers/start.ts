import { readStartRequest } from '../wire/read-requests.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Begins a migration. Answers once it is recorded and running. */
export async function start({ control, request }: Call): Promise<Uint8Array> {
  await control.start(await readStartRequest(request, (options) => control.regexViolations(options)));
  return EMPTY_RESPONSE;
}
