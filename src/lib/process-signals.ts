/**
 * The process's signals, from its first moment to its last. Without a handler SIGUSR1 opens Node's debugger to everybody
 * on the machine, and the others end the process; so the handlers are set before anything else is loaded, and stay.
 *
 * | signal          | what it does                                                                     |
 * | --------------- | -------------------------------------------------------------------------------- |
 * | SIGTERM, SIGINT | stop in order; one that comes before there is something to stop is not forgotten |
 * | SIGHUP          | what is registered by `onHangup`; nothing else                                   |
 * | SIGUSR1         | a new log file (src/lib/log-file.ts)                                             |
 * | SIGUSR2         | nothing                                                                          |
 *
 * Commands that are no servers leave stopping and hang-ups to the system: `releaseSignals`.
 */

const STOPPING = ['SIGTERM', 'SIGINT'] as const;
/** What ends a server. */
export type StopSignal = (typeof STOPPING)[number];

const hangups = new Set<() => void>();
let stop: ((name: StopSignal) => void) | undefined;
let early: StopSignal | undefined;

const nothing = (): void => undefined;
const hangUp = (): void => {
  for (const listener of [...hangups]) listener();
};
const onStopping = (signal: NodeJS.Signals): void => {
  const name = signal as StopSignal;
  if (stop === undefined) early ??= name;
  else stopOn(name, stop);
};

/** Takes over all signals. The first thing that the program does. Repeatable. */
export function holdSignals(): void {
  if (!process.listeners('SIGUSR1').includes(nothing)) process.on('SIGUSR1', nothing);
  if (!process.listeners('SIGUSR2').includes(nothing)) process.on('SIGUSR2', nothing);
  if (!process.listeners('SIGHUP').includes(hangUp)) process.on('SIGHUP', hangUp);
  for (const name of STOPPING) if (!process.listeners(name).includes(onStopping)) process.on(name, onStopping);
}

/** For commands that are no servers: SIGTERM, SIGINT and SIGHUP end the process, also one that has come already. */
export function releaseSignals(): void {
  process.removeListener('SIGHUP', hangUp);
  releaseStopping();
  if (early !== undefined) process.kill(process.pid, early);
}

/**
 * Calls `listener` at the first SIGTERM or SIGINT, soon if it has come already. The handlers are gone then, so that a
 * second one ends the process at once. Returns the way to leave both to the system.
 */
export function onStop(listener: (name: StopSignal) => void): () => void {
  holdSignals();
  stop = listener;
  if (early !== undefined) stopOn(early, listener);
  return releaseStopping;
}

/** Calls `listener` at every SIGHUP: for what is to be read again. Returns the way to stop. */
export function onHangup(listener: () => void): () => void {
  hangups.add(listener);
  return () => hangups.delete(listener);
}

function stopOn(name: StopSignal, listener: (name: StopSignal) => void): void {
  early = undefined;
  releaseStopping();
  listener(name);
}

function releaseStopping(): void {
  stop = undefined;
  for (const name of STOPPING) process.removeListener(name, onStopping);
}
