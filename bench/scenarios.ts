/** The rows of the bench: what each measures, and how much of it. */
import type { Figure } from './figures.js';
import { controlPlaneRows, sourceClientsRows } from './rows/answers.js';
import { commitRows } from './rows/commit.js';
import { copyRows, verifiedRows } from './rows/copies.js';
import { drainingRows } from './rows/draining.js';
import { idleRows } from './rows/idle.js';
import { initialSyncRows, plainNodeRows } from './rows/initial-sync.js';
import { instanceRows } from './rows/instances.js';
import { lagRows } from './rows/lag.js';
import { numberRows } from './rows/numbers.js';
import { peerDrainingRows, peerRows } from './rows/peers.js';
import { routerRows } from './rows/router.js';
import { scalingRows } from './rows/scaling.js';
import { fixedCostRows, smallCollectionsRows } from './rows/small-collections.js';

/** How much is measured: a look, what `make bench` does in a quarter of an hour, what the bars are meant for. */
export type Extent = 'quick' | 'usual' | 'full';

export interface Scenario {
  readonly name: string;
  /** What a size counts. */
  readonly unit: string;
  /** From the smallest. */
  readonly sizes: Readonly<Record<Extent, readonly number[]>>;
  readonly run: (size: number, extent: Extent) => Promise<readonly Figure[]>;
  /** Repeats by itself. */
  readonly once?: boolean;
  /** Left out unless asked for, by name or by `--full`. */
  readonly onlyFull?: boolean;
}

const DOCUMENTS = { quick: [20_000, 60_000], usual: [60_000, 200_000], full: [250_000, 1_000_000] };
const LARGE_DOCUMENTS = { quick: [20, 60], usual: [60, 200], full: [150, 500] };
const COLLECTIONS = { quick: [25, 100], usual: [100, 400], full: [500, 3000] };
const EVENTS = { quick: [5000, 20_000], usual: [15_000, 50_000], full: [50_000, 200_000] };
const LAG_SECONDS = { quick: 4, usual: 8, full: 60 };

export const SCENARIOS: readonly Scenario[] = [
  { name: 'initial-sync', unit: 'documents', sizes: DOCUMENTS, run: initialSyncRows },
  { name: 'plain-node', unit: 'documents', sizes: DOCUMENTS, run: plainNodeRows, onlyFull: true },
  { name: 'verified', unit: 'documents', sizes: DOCUMENTS, run: verifiedRows },
  {
    name: 'small-documents',
    unit: 'documents',
    sizes: { quick: [50_000, 200_000], usual: [150_000, 600_000], full: [1_000_000, 4_000_000] },
    run: (size) => copyRows('small-documents', size),
  },
  { name: 'small-collections', unit: 'collections', sizes: COLLECTIONS, run: smallCollectionsRows },
  { name: 'draining', unit: 'events', sizes: EVENTS, run: drainingRows },
  {
    name: 'large-documents',
    unit: 'documents',
    sizes: LARGE_DOCUMENTS,
    run: (size) => copyRows('large-documents', size),
  },
  { name: 'random-ids', unit: 'documents', sizes: DOCUMENTS, run: (size) => copyRows('random-ids', size) },
  {
    name: 'fixed-cost',
    unit: 'documents',
    sizes: { quick: [40, 400], usual: [40, 400], full: [40, 400] },
    run: fixedCostRows,
  },
  {
    name: 'lag',
    unit: 'writes/s',
    sizes: { quick: [500, 2000], usual: [500, 2000], full: [500, 2000] },
    run: (size, extent) => lagRows(size, LAG_SECONDS[extent]),
  },
  { name: 'idle', unit: 'seconds', sizes: { quick: [10], usual: [20], full: [30, 60] }, run: idleRows },
  {
    name: 'commit',
    unit: 'collections',
    sizes: { quick: [10, 40], usual: [25, 100], full: [25, 100] },
    run: commitRows,
  },
  { name: 'instances', unit: 'documents', sizes: { ...DOCUMENTS, usual: [60_000] }, run: instanceRows, onlyFull: true },
  {
    name: 'scaling',
    unit: 'documents',
    sizes: { quick: [170_000], usual: [500_000], full: [500_000, 1_000_000] },
    run: scalingRows,
    onlyFull: true,
  },
  { name: 'router', unit: 'documents', sizes: { ...DOCUMENTS, usual: [60_000] }, run: routerRows, onlyFull: true },
  { name: 'control-plane', unit: 'documents', sizes: DOCUMENTS, run: controlPlaneRows },
  { name: 'source-clients', unit: 'documents', sizes: DOCUMENTS, run: sourceClientsRows },
  {
    name: 'numbers',
    unit: 'documents',
    sizes: { quick: [5000], usual: [10_000], full: [30_000, 100_000] },
    run: numberRows,
    once: true,
  },
  {
    name: 'peers-documents',
    unit: 'documents',
    sizes: DOCUMENTS,
    run: (size) => peerRows('documents', size),
    onlyFull: true,
  },
  {
    name: 'peers-collections',
    unit: 'collections',
    sizes: COLLECTIONS,
    run: (size) => peerRows('collections', size),
    onlyFull: true,
  },
  {
    name: 'peers-large-documents',
    unit: 'documents',
    sizes: LARGE_DOCUMENTS,
    run: (size) => peerRows('large-documents', size),
    onlyFull: true,
  },
  { name: 'peers-draining', unit: 'events', sizes: EVENTS, run: peerDrainingRows, onlyFull: true },
];
