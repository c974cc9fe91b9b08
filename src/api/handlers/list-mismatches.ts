/** Answers the call ListMismatches, page by page. */
import { inChunks } from '../../lib/in-chunks.js';
import type { MigrationControl } from '../../progress/control.js';
import { MISMATCH_PAGE_BYTES } from '../../progress/control.js';
import { encodePageToken, readListMismatchesRequest } from '../wire/read-requests.js';
import { encodeListMismatchesResponse } from '../wire/responses.js';
import type { Call } from './handler.js';

/** A page of the documents that differ, in the order of their ids. */
export async function listMismatches({
  control,
  request,
  signal,
}: Omit<Call, 'control'> & { readonly control: Pick<MigrationControl, 'mismatches'> }): Promise<Uint8Array> {
  const { pageSize, after } = readListMismatchesRequest(request);
  // One more than asked for tells whether there is another page.
  const found = await control.mismatches(after ?? '', pageSize + 1, signal);
  const [page = []] = inChunks(found, pageSize, MISMATCH_PAGE_BYTES, ({ documentId }) => documentId.length);
  const last = page.at(-1);
  return encodeListMismatchesResponse(
    page,
    found.length > page.length && last !== undefined ? encodePageToken(last.id) : '',
  );
}
