/** Answers the call Pause. */
import { refuseAnyField } from '../wire/request.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Stops reading and writing, keeping all progress. Answers once PAUSED is recorded. */
export async function pause({ control, request, signal }: Call): Promise<Uint8Array> {
  refuseAnyField('mongoferry.v1.PauseRequest', request);
  await control.pause(signal);
  return EMPTY_RESPONSE;
}
