/** Answers the call Commit. */
import { refuseAnyField } from '../wire/request.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Begins the end of the migration. Answers once COMMITTING is recorded; progress shows the rest. */
export async function commit({ control, request, signal }: Call): Promise<Uint8Array> {
  refuseAnyField('mongoferry.v1.CommitRequest', request);
  await control.commit(signal);
  return EMPTY_RESPONSE;
}
