/** Makes the writers of documents for this run, up to the point of no return of its commit. */
import { DocumentWriter } from '../documents/document-writer.js';
import { RawWriter } from '../documents/raw-writes.js';
import type { WriterThreads } from '../threads/writer-threads.js';
import type { RunContext } from './run-context.js';
import { makeThreads } from './worker-threads.js';

/** The writers of one run: threads are started when they are needed first. */
export class Writers {
  /** Of the main thread. */
  readonly document: DocumentWriter;
  /** Undefined: the main thread copies and applies. */
  readonly threads: WriterThreads | undefined;

  private constructor(document: DocumentWriter, threads: WriterThreads | undefined) {
    this.document = document;
    this.threads = threads;
  }

  /** Probes how documents can be sent. Errors: those of the probe, which is tried again while they are transient. */
  static async make(context: RunContext, signal: AbortSignal): Promise<Writers> {
    const { destination, held, listener, indexes } = context;
    const raw = await destination.attempt('probing the raw pass-through', signal, () =>
      RawWriter.create(destination, held.store.db, signal),
    );
    if (!raw.passesThrough)
      listener.warn('the driver has no raw pass-through here; documents are decoded and encoded, which is slower');
    const document = new DocumentWriter(destination, raw, (target, inner) => indexes.remove(target.uuid, inner));
    return new Writers(document, makeThreads(context));
  }

  /** Ends the threads. Call it before anything else is done with the destination. Repeatable; never rejects. */
  async close(): Promise<void> {
    await this.threads?.close();
  }
}
