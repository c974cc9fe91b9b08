import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Browser, chromium, type Page } from 'playwright-core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doors, openDoors } from '../support/api-doors.js';
import { eventually, within } from '../support/within.js';

const CHROMIUM = '/usr/bin/chromium';
const TEST_MS = 120_000;
const WAIT_MS = 30_000;
/** Resolves to this machine in the browser alone, as an attacker's name server would have it. */
const EVIL = 'evil.example';
const START = '{"source": "cluster0", "destination": "cluster1"}';

const ARGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  `--host-resolver-rules=MAP ${EVIL} 127.0.0.1`,
];

/** A page of a site of somebody else's, on a port of its own. */
async function evilSite(): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>evil</title><iframe name="sink"></iframe>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${EVIL}:${port}/`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The doors, and a fresh profile's page that was at `url`; the statuses of what it asked of the HTTP door. */
interface Visit extends AsyncDisposable {
  readonly doors: Doors;
  readonly page: Page;
  readonly statuses: string[];
  /** What the browser writes on its console, of frames of other processes, too. */
  readonly messages: string[];
}

async function visit(signal: AbortSignal): Promise<Visit> {
  const doors = await openDoors();
  let browser: Browser | undefined;
  const close = async (): Promise<void> => {
    await browser?.close();
    await doors[Symbol.asyncDispose]();
  };
  try {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS, chromiumSandbox: false });
    signal.throwIfAborted();
    const page = await browser.newPage();
    const statuses: string[] = [];
    page.on('response', (response) => {
      const { port, pathname } = new URL(response.url());
      if (port === String(doors.httpPort))
        statuses.push(`${response.request().method()} ${pathname} ${response.status()}`);
    });
    const messages: string[] = [];
    page.on('console', (message) => messages.push(message.text()));
    return { doors, page, statuses, messages, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether there is a browser; without one the tests are counted as skipped. */
function browsed(name: string, work: (visit: Visit) => Promise<void>): void {
  if (!existsSync(CHROMIUM)) {
    test.skip(name);
    return;
  }
  const run = async (signal: AbortSignal): Promise<void> => {
    await using one = await visit(signal);
    await work(one);
  };
  test(name, async () => {
    await within(TEST_MS, run, name);
  });
}

const startUrl = ({ httpPort }: Doors): string => `http://127.0.0.1:${httpPort}/api/v1/start`;

/** Runs a function of the page's own, whose text is given since the types here are Node's, on one argument. */
async function inPage<T>(page: Page, source: string, argument: unknown): Promise<T> {
  return (await page.evaluate(`(${source})(${JSON.stringify(argument)})`)) as T;
}

const SEND_FORM = `({ action, enctype, name, value }) => {
  const form = document.createElement('form');
  Object.assign(form, { method: 'POST', action, enctype, target: 'sink' });
  const input = document.createElement('input');
  Object.assign(input, { type: 'hidden', name, value });
  form.append(input);
  document.body.append(form);
  form.submit();
}`;

const FORMS: readonly [what: string, enctype: string, name: string, value: string][] = [
  ['a text/plain form', 'text/plain', '{"source": "cluster0", "destination": "cluster1", "x": "', '"}'],
  ['an URL-encoded form', 'application/x-www-form-urlencoded', START, ''],
  ['a multipart form', 'multipart/form-data', START, ''],
];
for (const [what, enctype, name, value] of FORMS) {
  browsed(`${what} of another site starts nothing`, async ({ doors, page, statuses }) => {
    await using site = await evilSite();
    await page.goto(site.url);
    await inPage(page, SEND_FORM, { action: startUrl(doors), enctype, name, value });
    await eventually(WAIT_MS, () => statuses.length > 0, 'the answer to the form');
    assert.equal(statuses, ['POST /api/v1/start 403']);
    assert.equal(doors.control.calls, []);
  });
}

/** What a script learns: the type and status of each answer, or that the browser shows it none. */
const SEND_ALL = `async ({ start, grpc, progress, body }) => {
  const outcomes = [];
  const tell = async (url, init) => {
    try {
      const answer = await fetch(url, init);
      outcomes.push(answer.type + ' ' + answer.status);
    } catch {
      outcomes.push('blocked');
    }
  };
  const post = (url, init) => tell(url, { method: 'POST', body, ...init });
  await post(start, { mode: 'no-cors' });
  await post(start, { mode: 'no-cors', headers: { 'content-type': 'text/plain' }, credentials: 'include' });
  await post(start, { mode: 'no-cors', referrerPolicy: 'no-referrer' });
  await post(start, { mode: 'cors' });
  await post(start, { mode: 'cors', headers: { 'content-type': 'application/json' } });
  await post(start, { mode: 'cors', headers: { authorization: 'Bearer x' } });
  await post(grpc, { mode: 'no-cors' });
  await tell(progress, {});
  navigator.sendBeacon(start, body);
  return outcomes;
}`;

browsed('scripts of another site start nothing and read nothing', async ({ doors, page, statuses }) => {
  await using site = await evilSite();
  await page.goto(site.url);
  const outcomes = await inPage<string[]>(page, SEND_ALL, {
    start: startUrl(doors),
    body: START,
    grpc: `http://127.0.0.1:${doors.grpcPort}/mongoferry.v1.SyncService/Start`,
    progress: `http://127.0.0.1:${doors.httpPort}/api/v1/progress`,
  });
  // "opaque 0" is an answer that the page cannot look into.
  assert.equal(outcomes.slice(0, 3), ['opaque 0', 'opaque 0', 'opaque 0']);
  assert.equal(outcomes.slice(3), ['blocked', 'blocked', 'blocked', 'blocked', 'blocked']);
  await eventually(WAIT_MS, () => statuses.length >= 3, 'the answers that the browser lets through');
  assert.equal([...new Set(statuses.map((text) => text.split(' ')[2]))], ['403']);
  assert.equal(doors.control.calls, []);
});

const ADD_FRAME = `({ start, body }) => {
  const frame = document.createElement('iframe');
  frame.setAttribute('sandbox', 'allow-scripts');
  const init = JSON.stringify({ method: 'POST', mode: 'no-cors', body });
  frame.srcdoc = '<script>fetch(' + JSON.stringify(start) + ', ' + init + ')</script>';
  document.body.append(frame);
}`;

browsed('a sandboxed frame, whose origin is null, starts nothing', async ({ doors, page, messages }) => {
  await using site = await evilSite();
  await page.goto(site.url);
  await inPage(page, ADD_FRAME, { start: startUrl(doors), body: START });
  await eventually(WAIT_MS, () => messages.some((text) => text.includes('403')), 'the answer to the frame');
  assert.equal(doors.control.calls, []);
});

const START_HERE = `async (body) => (await fetch('/api/v1/start', { method: 'POST', body })).status`;

browsed('a name that comes to point here, DNS rebinding, is refused', async ({ doors, page }) => {
  const answer = await page.goto(`http://${EVIL}:${doors.httpPort}/api/v1/progress`);
  assert.is(answer?.status(), 403);
  assert.match((await answer?.text()) ?? '', /"error":"ForbiddenOrigin"/);
  // The page is of the same origin now, so nothing but the Host header tells.
  assert.is(await inPage(page, START_HERE, START), 403);
  assert.equal(doors.control.calls, []);
});

for (const host of ['127.0.0.1', 'localhost']) {
  browsed(`a page of the server's own at ${host} may start`, async ({ doors, page }) => {
    await page.goto(`http://${host}:${doors.httpPort}/openapi.json`);
    assert.is(await inPage(page, START_HERE, START), 200);
    assert.equal(
      doors.control.calls.map(({ name }) => name),
      ['start'],
    );
  });
}

test.run();
