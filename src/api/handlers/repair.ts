/** Answers the call Repair: copies documents that differ again. */
import { readRepairRequest } from '../wire/read-requests.js';
import { encodeRepairResponse } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Copies documents that differ again. Answers once they have been compared. */
export async function repair({ control, request, signal }: Call): Promise<Uint8Array> {
  return encodeRepairResponse(await control.repair(readRepairRequest(request), signal));
}
