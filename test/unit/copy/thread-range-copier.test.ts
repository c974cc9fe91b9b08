import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UNSHARDED } from '../../../src/bson/key-query.js';
import type { CopyTold } from '../../../src/copy/copy-worker.js';
import type { CopyPosition, RangeTask } from '../../../src/copy/range-task.js';
import { ThreadRangeCopier } from '../../../src/copy/thread-range-copier.js';
import { ThreadEnded } from '../../../src/lib/thread-channel.js';
import type { WriterThreads } from '../../../src/threads/writer-threads.js';

const { signal } = new AbortController();
const PLACE: CopyPosition = { position: { id: Uint8Array.of(5, 0, 0, 0, 0), documents: 7, bytes: 70 } };
const NS = { db: 'shop', coll: 'items' };
const TASK: RangeTask = {
  ns: NS,
  uuid: new Uint8Array(16),
  target: { ns: NS, uuid: new Uint8Array(16), keyPaths: UNSHARDED },
  lower: undefined,
  upper: undefined,
  natural: false,
  resumable: false,
  marks: [],
  position: undefined,
  isAgain: false,
  filter: undefined,
  ordered: false,
  estimatedBytes: 1000,
  behind: 0,
  batchDocuments: 100,
  afterTime: [16, 1],
};

/** Threads whose only one tells of these, and ends. */
function ending(told: readonly CopyTold[]): Pick<WriterThreads, 'call'> {
  return {
    call: async (_kind, _task, { onProgress }) => {
      for (const each of told) await onProgress?.(each as never);
      throw new ThreadEnded('out of memory');
    },
  };
}

async function copyWith(threads: Pick<WriterThreads, 'call'>, task: RangeTask) {
  let documents = 0;
  const stored: CopyPosition[] = [];
  const copied: RangeTask[] = [];
  const local = {
    copy: async (each: RangeTask) => {
      copied.push(each);
      return 'copied' as const;
    },
  };
  const listener = {
    written: (more: number) => {
      documents += more;
    },
    marked: async (place: CopyPosition) => void stored.push(place),
  };
  const outcome = await new ThreadRangeCopier(threads, local).copy(task, listener, signal);
  return { outcome, documents, stored, copied };
}

test('when the thread ends, the range goes on at the last place that was stored, and nothing counts twice', async () => {
  const threads = ending([{ written: [10, 100] }, { marked: PLACE }, { written: [5, 50] }]);
  const { outcome, documents, stored, copied } = await copyWith(threads, TASK);
  assert.equal([outcome, documents, stored], ['copied', 0, [PLACE]]);
  assert.equal(copied, [{ ...TASK, ...PLACE, isAgain: true }]);
});

test('where order is data, it begins again from empty', async () => {
  const { outcome, documents, copied } = await copyWith(ending([{ written: [10, 100] }]), { ...TASK, ordered: true });
  assert.equal([outcome, documents, copied], ['restart', 0, []]);
});

test('other failures are passed on', async () => {
  const threads = { call: () => Promise.reject(new Error('refused')) };
  const error = await copyWith(threads, TASK).catch((cause: unknown) => cause);
  assert.is(String(error), 'Error: refused');
});

test.run();
