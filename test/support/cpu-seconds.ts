/** Reads how much processor time a process has used. */
import { readFileSync } from 'node:fs';

/** The unit of Linux's /proc, on every machine it runs on. */
const TICKS_PER_SECOND = 100;

/** Processor time of a process, in seconds, without its children's; 0 where there is no such process, or no /proc. */
export function cpuSeconds(pid: number): number {
  const [own = 0] = readTimes(pid);
  return own;
}

/** As {@link cpuSeconds}, with that of the children that have ended and were waited for. */
export function cpuSecondsWithChildren(pid: number): number {
  const [own = 0, children = 0] = readTimes(pid);
  return own + children;
}

/** Fields 14 to 17 of the line: utime, stime, cutime, cstime. The name before them may hold blanks and brackets. */
function readTimes(pid: number): number[] {
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return [];
  }
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const ticks = (index: number) => Number(fields[index - 3]) / TICKS_PER_SECOND;
  return [ticks(14) + ticks(15), ticks(16) + ticks(17)];
}
