/** Answers the call ListNamespaces, page by page. */
import { encodePageToken, readListNamespacesRequest } from '../wire/read-requests.js';
import { encodeListNamespacesResponse } from '../wire/responses.js';
import type { Call } from './handler.js';

/** A page of namespaces in the order of their names. */
export async function listNamespaces({ control, request }: Call): Promise<Uint8Array> {
  const { pageSize, after } = readListNamespacesRequest(request);
  const all = control.namespaces();
  const from = after === undefined ? 0 : all.findIndex(({ namespace }) => namespace > after);
  const page = from < 0 ? [] : all.slice(from, from + pageSize);
  const last = page.at(-1);
  const isLastPage = last === undefined || last === all.at(-1);
  return encodeListNamespacesResponse(page, isLastPage ? '' : encodePageToken(last.namespace));
}
