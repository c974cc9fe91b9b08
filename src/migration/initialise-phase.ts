import { probeRawDeltas } from '../apply/raw-deltas.js';
import type { CatalogEntry } from '../cluster/catalog.js';
import { refuseCollated } from '../cluster/document-filter.js';
import { blockWrites } from '../cluster/write-block.js';
import { AppError } from '../errors.js';
import { initialise } from '../initialise/initialise.js';
import { checkEmpty, checkPlaces } from '../preflight/places.js';
import type { RunContext } from './run-context.js';
import type { RunParts } from './run-parts.js';

/** Blocks the destination, fixes the start time, records the catalog and creates it. Repeatable until it is stored as done. */
export async function initialisePhase({ context, filter }: RunParts, signal: AbortSignal): Promise<void> {
  const { source, destination, scope, record, collections, logger, blocksDestination } = context;
  const hasStartTime = record.value.startTime !== undefined;
  if (blocksDestination) await blockWrites(destination, signal);
  if (!hasStartTime && !scope.sharesDestination) await mustBeEmpty(context, signal);
  const rawDeltas = await source.attempt('probing raw update deltas', signal, () =>
    probeRawDeltas({ source, destination, db: record.store.db }, signal),
  );
  if (!rawDeltas)
    context.onWarning(
      'the servers do not give or take raw update deltas; changed documents are read again instead, which is slower',
    );
  await initialise(
    {
      source,
      destination,
      scope,
      mustFit: (entries, inner) => mustFit(context, entries, inner),
      store: record.store,
      collections,
      logger: logger.component('initialise'),
    },
    hasStartTime,
    signal,
  );
  for (const each of collections.live()) refuseCollated(filter, each.sourceNs, each.options);
  await record.refresh(signal);
  for (const warning of record.value.warnings) context.onWarning(warning);
  await record.update({ phase: 'copy', rawDeltas }, signal);
}

async function mustBeEmpty({ destination }: RunContext, signal: AbortSignal): Promise<void> {
  const [finding] = await checkEmpty(destination, signal);
  if (finding !== undefined)
    throw new AppError('DestinationModified', `${finding.description}: it was empty when the start was accepted`);
}

/** As the start found it, but for the catalog of T0. */
async function mustFit(
  { destination, scope }: RunContext,
  entries: readonly CatalogEntry[],
  signal: AbortSignal,
): Promise<void> {
  const databases = [...new Set(entries.map((each) => each.ns.db))];
  const [finding] = await checkPlaces({ databases, entries }, destination, scope, signal);
  if (finding === undefined) return;
  const name = finding.name === 'DestinationNamespaceExists' ? 'DestinationModified' : 'UnsupportedChange';
  throw new AppError(name, `${finding.description}: it was not so when the start was accepted`);
}
