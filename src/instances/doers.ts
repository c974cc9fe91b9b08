/** What an instance does the coordinator's tasks with. */
import { LocalRangeCopier } from '../copy/local-range-copier.js';
import type { CopyListener, RangeTask } from '../copy/range-task.js';
import { DocumentWriter } from '../documents/document-writer.js';
import { RawWriter } from '../documents/raw-writes.js';
import { inChunks } from '../lib/in-chunks.js';
import { ByteBudget } from '../lib/limit.js';
import { LocalRangeScanner, type RangeScan } from '../matching/range-scanner.js';
import { metrics } from '../metrics.js';
import type { Roles } from '../start/held-migration.js';
import { see, seenBy } from '../threads/seen-times.js';
import type { TaskKind } from './records.js';
import { type ShareDoerParts, shareDoer } from './share-doer.js';
import type { SeenWith } from './shared-range-copier.js';
import type { TaskDoer } from './workshop.js';

/** What tasks are done with. */
export interface DoerParts extends Omit<ShareDoerParts, 'writerFor'> {
  /** With the instance's own lease. */
  readonly roles: Roles;
}

/** Ids of differing documents in one page, and their bytes: several pages stand in one document. */
const PAGE_IDS = 1000;
const PAGE_BYTES = 256 * 1024;
/** One that is larger is left to the coordinator, which need not send it. */
const MAX_ID_BYTES = 512 * 1024;

/** `instanceSignal`: aborts when the instance ends. */
export function doersOf(parts: DoerParts, instanceSignal: AbortSignal): Readonly<Record<TaskKind, TaskDoer>> {
  const { roles, load, logger } = parts;
  const { source, destination } = roles;
  const budget = new ByteBudget(load.copyBytes);
  let writer: DocumentWriter | undefined;
  const writerFor = async (signal: AbortSignal): Promise<DocumentWriter> => {
    if (writer !== undefined) return writer;
    const raw = await destination.attempt('probing the raw pass-through', signal, () =>
      RawWriter.create(destination, roles.store.db, signal),
    );
    writer = new DocumentWriter(destination, raw, () =>
      // Only the coordinator knows of indexes; it does the range itself then.
      Promise.reject(new Error('an index stands in the way of a document')),
    );
    return writer;
  };
  const scanner = new LocalRangeScanner({ source, destination });
  return {
    apply: shareDoer({ ...parts, writerFor }, instanceSignal),
    copy: async (task, events, signal) => {
      const { value, seen } = task as SeenWith<RangeTask>;
      see(roles, seen);
      const copier = new LocalRangeCopier({ source, destination, writer: await writerFor(signal), budget, logger });
      const listener: CopyListener = {
        written: (documents, bytes) => {
          events.count(documents, bytes);
          if (documents > 0) metrics.documentsInserted.add(documents);
          if (bytes > 0) metrics.bytesInserted.add(bytes);
        },
        marked: async (place) => events.place(place),
      };
      const outcome = await copier.copy(value, listener, signal);
      return { value: outcome, seen: seenBy(roles) };
    },
    compare: async (task, events, signal) => {
      const onDiffering = async (ids: Buffer[]): Promise<void> => {
        if (ids.some(({ length }) => length > MAX_ID_BYTES)) throw new Error('an _id is too large to be told');
        for (const page of inChunks(ids, PAGE_IDS, PAGE_BYTES, ({ length }) => length)) await events.page(page);
      };
      return await scanner.scan(task as RangeScan, { onRead: events.count, onDiffering }, signal);
    },
  };
}
