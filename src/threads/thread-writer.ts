/** Writes documents with a thread's own clients, and leaves changes of the catalog to the main thread. */
import { uuidBytes } from '../bson/uuid.js';
import type { WritableCluster } from '../cluster/writable-cluster.js';
import { DocumentWriter } from '../documents/document-writer.js';
import { RawWriter } from '../documents/raw-writes.js';
import { InvariantError } from '../errors.js';
import type { CallKind, Served } from '../lib/thread-channel.js';
import { see, seenBy } from './seen-times.js';
import { REMOVE_INDEXES, type ThreadWriting, type Timed } from './thread-calls.js';
import type { ThreadParts } from './thread-clusters.js';

/** What the thread writes with. Errors: Internal when it was started to read. */
export function writingOf({ data: { writing }, writable }: ThreadParts): ThreadWriting & {
  readonly destination: WritableCluster;
} {
  if (writing === undefined || writable === undefined)
    throw new InvariantError('a thread that only reads was to write');
  return { ...writing, destination: writable };
}

/**
 * The writer, made at the first call: its probe is a write, and the right to write comes after the thread is connected.
 * Errors: those of the probe, after which the next call tries again.
 */
export function threadWriter(parts: ThreadParts): (signal: AbortSignal) => Promise<DocumentWriter> {
  const { channel } = parts;
  const { numbersDb, destination } = writingOf(parts);
  let made: DocumentWriter | undefined;
  return async (signal) => {
    if (made !== undefined) return made;
    const raw = await destination.attempt('probing the raw pass-through', signal, () =>
      RawWriter.create(destination, numbersDb, signal),
    );
    made = new DocumentWriter(destination, raw, ({ ns, uuid }, inner) =>
      channel.call(REMOVE_INDEXES, { ns, uuid: uuidBytes(uuid) }, { signal: inner }),
    );
    return made;
  };
}

/** Serves calls of writes: both sides learn of the cluster times that the other one has seen. */
export function serveTimed<Task, Progress, Answer>(
  parts: ThreadParts,
  kind: CallKind<Timed<Task>, Progress, Timed<Answer>>,
  handler: (task: Task, served: Served<Progress>) => Promise<Answer>,
): void {
  parts.channel.serve(kind, async ({ value, seen }, served) => {
    see(parts, seen);
    return { value: await handler(value, served), seen: seenBy(parts) };
  });
}
