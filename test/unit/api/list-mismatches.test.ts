import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ListMismatchesRequest, ListMismatchesResponse } from '../../../gen/mongoferry/v1/sync_service.js';
import { listMismatches } from '../../../src/api/handlers/list-mismatches.js';
import { MISMATCH_PAGE_BYTES, type Mismatch } from '../../../src/progress/control.js';

const { signal } = new AbortController();

/** Pages of `pageSize`, one after the other, of mismatches whose ids are so long. */
async function pagesOf(lengths: readonly number[], pageSize: number): Promise<number[]> {
  const all = lengths.map((length, n): Mismatch => {
    const id = `${'0'.repeat(32)}:${String(n).padStart(40, '0')}`;
    return {
      id,
      namespace: 'shop.items',
      documentId: 'x'.repeat(length),
      kind: 'extra',
      field: '',
      foundAt: new Date(0),
    };
  });
  const mismatches = async (after: string, limit: number): Promise<Mismatch[]> =>
    all.filter(({ id }) => id > after).slice(0, limit);
  const control = { mismatches };
  const pages: number[] = [];
  for (let pageToken = ''; ; ) {
    const bytes = ListMismatchesRequest.encode({ pageSize, pageToken }).finish();
    const answer = ListMismatchesResponse.decode(await listMismatches({ control, request: { bytes }, signal }));
    pages.push(answer.mismatches.length);
    pageToken = answer.nextPageToken;
    if (pageToken === '') return pages;
  }
}

test('a page of mismatches holds as many as asked for, fewer where their ids are long, and no page is empty', async () => {
  const half = MISMATCH_PAGE_BYTES / 2;
  assert.equal(await pagesOf([1, 1, 1, 1, 1], 2), [2, 2, 1]);
  assert.equal(await pagesOf([1, 1], 2), [2]);
  assert.equal(await pagesOf([half, half, 1, 3 * half, half], 10), [2, 1, 1, 1]);
  assert.equal(await pagesOf([], 10), [0]);
});

test.run();
