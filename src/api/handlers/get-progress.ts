/** Answers the call GetProgress: one snapshot. */
import { costlyWork } from '../limits.js';
import { encodeGetProgressResponse } from '../wire/progress.js';
import { readGetProgressRequest } from '../wire/read-requests.js';
import type { Call } from './handler.js';

/** One snapshot, in every state; of a failed migration too. */
export async function getProgress({ control, request }: Call): Promise<Uint8Array> {
  const details = readGetProgressRequest(request);
  if (details === 'all') await costlyWork.next();
  return encodeGetProgressResponse({ snapshot: control.snapshot(), namespaces: control.namespaces(), details });
}
