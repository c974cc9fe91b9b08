/** Makes the writers of documents for this run, up to the point of no return of its commit. */
import { DocumentWriter } from '../documents/document-writer.js';
import { RawWriter } from '../documents/raw-writes.js';
import type { WriterThreads } from '../threads/writer-threads.js';
import type { RunContext } from './run-context.js';
import { makeThreads } from './worker-threads.js';

/** The writers of one run. */
export interface Writers {
  /** Of the main thread. */
  readonly document: DocumentWriter;
  /** Undefined: the main thread copies and applies. */
  readonly threads: WriterThreads | undefined;
}

/** Probes how documents can be sent; threads are started when they are needed first, and must be closed. */
export async function makeWriters(context: RunContext, signal: AbortSignal): Promise<Writers> {
  const { destination, held, listener, indexes } = context;
  const raw = await destination.attempt('probing the raw pass-through', signal, () =>
    RawWriter.create(destination, held.store.db, signal),
  );
  if (!raw.passesThrough)
    listener.warn('the driver has no raw pass-through here; documents are decoded and encoded, which is slower');
  return {
    document: new DocumentWriter(destination, raw, (target, inner) => indexes.remove(target.uuid, inner)),
    threads: makeThreads(context),
  };
}
