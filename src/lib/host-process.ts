/** Identifies this machine and its processes, to tell whether an earlier process has ended. */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';

/**
 * The running kernel's id and the process namespace (a container's pids mean nothing outside it) where the system tells
 * one; else a value that no record matches.
 */
export async function bootId(): Promise<string> {
  try {
    const [boot, namespace] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readlink('/proc/self/ns/pid'),
    ]);
    return `${boot.trim()}/${namespace}`;
  } catch (error) {
    if (error instanceof Error) return `${hostname()}/${randomUUID()}`;
    throw error;
  }
}

/** Whether a process of this machine runs. One that has ended, and that its parent has not looked after, does not. */
export function isAlive(pid: number): boolean {
  if (pid <= 0 || isZombie(pid)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Where the system tells it; a process whose first thread alone has ended still runs. */
function isZombie(pid: number): boolean {
  try {
    const state = /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/s, ')'))?.[1];
    return (state === 'Z' || state === 'X') && readdirSync(`/proc/${pid}/task`).length <= 1;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}
