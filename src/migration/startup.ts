/** Goes on with what an earlier process has left, or helps the instance that works on it. */
import { AppError } from '../errors.js';
import { type HelpEnd, Helper } from '../instances/helper.js';
import type { GivenCall } from '../instances/records.js';
import { sleep } from '../lib/signals.js';
import { holdersOf } from '../metadata/lease-record.js';
import { reversedMeanwhile } from '../metadata/lease-store.js';
import { MetadataReader } from '../metadata/reader.js';
import type { MigrationRecord } from '../metadata/records.js';
import { heldMigration, keepLease, type Roles, rolesOf } from '../start/held-migration.js';
import { loadOf } from '../start/load-level.js';
import type { Found } from '../start/recover.js';
import { undoStart } from '../start/starting.js';
import { Helping } from './helping.js';
import type { MigrationProcess } from './migration-process.js';

const LOOK_MS = 500;
const LEASE = 'another process holds the lease of this migration; this process waits for it';

/**
 * What has come of a migration that was found: this process coordinates it (and is to resume it); or nothing is left of
 * it here; or its clusters are to be looked at again.
 */
export type Outcome = 'coordinates' | 'resumes' | 'idle' | 'moved';

/** The lease of the migration, held, and what goes with it. */
interface Taken {
  readonly roles: Roles;
  readonly stopKeeping: () => void;
  readonly resumes: boolean;
  /** What this instance was called while it helped. */
  readonly calls: readonly GivenCall[];
}

/**
 * Goes on with a migration that an earlier process began, in the state it was in; one whose start was not completed is
 * undone. While another instance works on it this one helps it, or waits where both have one name. `isPaused`: it does
 * not work until it is resumed. Errors: MigrationFailed when it has failed before; LeaseLost when another process has
 * reversed it meanwhile.
 */
export async function goOn(found: Found, process: MigrationProcess, isPaused: boolean): Promise<Outcome> {
  const { db, machine, logger, signal, config } = process;
  refuseFailed(found.record, process);
  const roles = rolesOf(found.source, found.destination, { db, logger, instance: config.instanceId, goesOn: true });
  const taken = await takeOrHelp(found, roles, process, isPaused);
  if (taken === undefined) return 'moved';
  const { stopKeeping, resumes, calls } = taken;
  // Another process may have gone on with it until it gave up the lease.
  const current = await taken.roles.store.loadMigration(signal);
  if (current === undefined || current.starting === true) {
    stopKeeping();
    await goIdle(taken.roles, process);
    return 'idle';
  }
  if (current.moved === true) throw reversedMeanwhile();
  const session = process.hold(heldMigration(taken.roles, current));
  stopKeeping();
  refuseFailed(current, process);
  logger.info('Going on with the migration found on the destination', { state: current.state, phase: current.phase });
  const { state } = current;
  const isRunning = state === 'RUNNING' || state === 'COMMITTING';
  // Before the state is shown: a stream ends at COMMITTED, and its last message must tell canWrite.
  if (!isRunning) await session.show(signal);
  for (const { event, forAll } of calls) session.crew.give(event, forAll);
  process.help(undefined);
  machine.recover(state);
  if (isRunning) session.open();
  else if (state === 'REVERSING') session.reverse();
  return resumes && state === 'PAUSED' ? 'resumes' : 'coordinates';
}

/** The migration's lease: at once where it is free, else by helping or waiting. Undefined: the migration is elsewhere. */
async function takeOrHelp(
  found: Found,
  roles: Roles,
  process: MigrationProcess,
  isPaused: boolean,
): Promise<Taken | undefined> {
  const { signal } = process;
  const taken = { roles, stopKeeping: () => undefined, resumes: false, calls: [] };
  if (!isPaused && (await roles.lease.takeIfFree(signal))) return taken;
  const coordinator = await whoElse(found, process, isPaused);
  if (coordinator !== undefined) return await help(found, process, { isPaused, coordinator });
  await roles.lease.take(signal, () => process.waitFor('lease', LEASE));
  process.waitFor('lease', undefined);
  return taken;
}

/** The name of the instance that coordinates, where this process is another one beside it. */
async function whoElse(
  { destination }: Found,
  process: MigrationProcess,
  isPaused: boolean,
): Promise<string | undefined> {
  const { config, db, signal } = process;
  if (config.instanceIsNamed === undefined) return undefined;
  const { coordinator } = holdersOf(await new MetadataReader(destination, db).readLeases(signal));
  const name = coordinator?.isHeld === true ? coordinator.instance : undefined;
  // One that is paused has just left its place to another one.
  if (isPaused) return name ?? '';
  return name === config.instanceId ? undefined : name;
}

/** Undefined: the migration is elsewhere by now, or gone. */
async function help(
  found: Found,
  process: MigrationProcess,
  { isPaused, coordinator }: { readonly isPaused: boolean; readonly coordinator: string },
): Promise<Taken | undefined> {
  const { db, logger, signal, config } = process;
  const { record, source, destination } = found;
  if (record.starting === true) return await takeHalfStart(found, process);
  const text = `another process with --id ${config.instanceId} is at work; this one waits for its end`;
  const helper = new Helper({
    ...{ source, destination, db, record, signal },
    instance: config.instanceId,
    load: loadOf(config.loadLevel),
    logger: logger.component('instance'),
    // Who joins a migration that is paused waits until it is called.
    isPaused: isPaused || record.state === 'PAUSED',
    onChange: () => process.reporter.changed(),
    onWaiting: (isWaiting) => process.waitFor('instance', isWaiting ? text : undefined),
    onRegistered: () => {
      logger.info('Helping the instance that coordinates the migration');
      process.help(new Helping(process, helper, coordinator));
    },
    onLost: (error) => process.die(error),
  });
  let end: HelpEnd;
  try {
    end = await helper.help(signal);
  } catch (error) {
    process.help(undefined);
    if (!signal.aborted) refuseFailed(helper.watch.record, process);
    throw error;
  }
  if (end.kind === 'coordinates') return { ...end, resumes: !helper.isPaused, calls: helper.calls };
  process.help(undefined);
  return undefined;
}

/** Of a start that another process is carrying out: its lease, if that process has ended; undefined once it is over. */
async function takeHalfStart({ source, destination }: Found, process: MigrationProcess): Promise<Taken | undefined> {
  const { db, logger, signal, config } = process;
  const roles = rolesOf(source, destination, { db, logger, instance: config.instanceId });
  for (;;) {
    if (await roles.lease.takeIfFree(signal)) {
      const stopKeeping = keepLease(roles.lease, (error) => process.die(error), signal);
      return { roles, stopKeeping, resumes: false, calls: [] };
    }
    if ((await roles.store.loadMigration(signal))?.starting !== true) return undefined;
    await sleep(LOOK_MS, signal);
  }
}

/** Of a start that nobody was told has succeeded nothing is left. */
async function goIdle(roles: Roles, { machine, logger, signal }: MigrationProcess): Promise<void> {
  await undoStart(roles, signal);
  await roles.lease.release();
  logger.info('A start that was not completed is undone; waiting for start');
  machine.recover('IDLE');
}

/** What has failed for good is not tried again; progress shows the state in which it failed. */
function refuseFailed(record: MigrationRecord, process: MigrationProcess): void {
  if (record.failure === undefined) return;
  process.fail(record.failure);
  process.machine.recover(record.state);
  throw new AppError('MigrationFailed', `this migration has failed before: ${record.failure.description}`);
}
