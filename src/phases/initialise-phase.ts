/** Runs the first phase: creates the catalog as of the start time on the destination. */
import { probeRawDeltas } from '../apply/raw-deltas.js';
import type { CatalogEntry } from '../catalog/catalog.js';
import { blockWrites } from '../cluster/write-block.js';
import { refuseCollated } from '../documents/document-filter.js';
import { AppError } from '../errors.js';
import { buildsBeforeCopy } from '../indexes/build-mode.js';
import { initialise } from '../initialise/initialise.js';
import { checkDestinationNamespaces, checkEmpty } from '../preflight/destination-namespaces.js';
import { CopyPhase } from './copy-phase.js';
import { NOTHING_YET, type Phase, type PhaseProgress } from './phase.js';
import type { RunContext } from './run-context.js';
import type { Writers } from './writers.js';

/** Blocks the destination, fixes the start time, records the catalog and creates it. Repeatable until it is stored as done. */
export class InitialisePhase implements Phase {
  readonly name = 'initialise';
  readonly #context: RunContext;
  readonly #writers: Writers;

  constructor(context: RunContext, writers: Writers) {
    this.#context = context;
    this.#writers = writers;
  }

  progress(): PhaseProgress {
    return NOTHING_YET;
  }

  async run(signal: AbortSignal): Promise<Phase> {
    const context = this.#context;
    const { source, destination, scope, held, record, collections, logger, listener, filter, layout } = context;
    logger.info('Starting initializing collections and indexes phase');
    const hasStartTime = record.value.startTime !== undefined;
    if (context.blocksDestination) await blockWrites(destination, signal);
    if (!hasStartTime && !scope.sharesDestination) await requireEmpty(context, signal);
    const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
      probeRawDeltas({ source, destination, db: held.store.db }, signal),
    );
    if (!rawDeltas)
      listener.warn(
        'the servers do not support raw update deltas; changed documents are read again instead, which is slower',
      );
    await initialise(
      {
        source,
        destination,
        scope,
        requireFit: (entries, inner) => requireFit(context, entries, inner),
        store: held.store,
        record,
        collections,
        layout,
        isBuilt: context.isBuilt,
        buildsBeforeCopy: buildsBeforeCopy(context.buildIndexes),
        logger: logger.component('initialise'),
      },
      signal,
    );
    for (const each of collections.live()) refuseCollated(filter, each.sourceNs, each.options);
    for (const warning of record.value.warnings) listener.warn(warning);
    await record.update({ phase: 'copy', rawDeltas }, signal);
    return new CopyPhase(context, this.#writers);
  }
}

async function requireEmpty({ destination }: RunContext, signal: AbortSignal): Promise<void> {
  const [finding] = await checkEmpty(destination, signal);
  if (finding !== undefined)
    throw new AppError('DestinationModified', `${finding.description}: it was empty when the start was accepted`);
}

/** As the start found it, but for the catalog of T0. */
async function requireFit(
  { destination, scope }: RunContext,
  entries: readonly CatalogEntry[],
  signal: AbortSignal,
): Promise<void> {
  const databases = [...new Set(entries.map((each) => each.ns.db))];
  const [finding] = await checkDestinationNamespaces({ databases, entries }, destination, scope, signal);
  if (finding === undefined) return;
  const name = finding.name === 'DestinationNamespaceExists' ? 'DestinationModified' : 'UnsupportedChange';
  throw new AppError(name, `${finding.description}: it was not so when the start was accepted`);
}
