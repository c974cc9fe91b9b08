/** Builds the request of `start`, `check` and `verify` from a file and flags. */
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { StartRequest } from '../../gen/mongoferry/v1/start_options.js';
import { messageType } from '../api/descriptors.js';
import { encodeJsonRequest } from '../api/json/json-in.js';
import { JsonSyntaxError, parseJsonText } from '../api/json/json-text.js';
import { type FieldViolation, invalidRequest } from '../errors.js';
import type { Io } from './io.js';
import { START_FLAGS, type StartFlag } from './start-flags.js';

/**
 * The request that `--file` and the flags make: a flag replaces the file's field of its name, and clusters not named
 * are cluster0 to cluster1. Errors: InvalidRequest with everything that is wrong in form; the rest is the server's to
 * judge.
 */
export async function startRequestOf(values: Readonly<Record<string, unknown>>, io: Io): Promise<StartRequest> {
  const violations: FieldViolation[] = [];
  const body = withOwnNames(await readFileBody(values['file'], io, violations));
  for (const flag of START_FLAGS) {
    const text = values[flag.name];
    const value = typeof text === 'string' ? flagValue(flag, text, violations) : undefined;
    if (value !== undefined) body[flag.name] = value;
  }
  addNamed(body, 'includeNamespaces', values['include']);
  addNamed(body, 'excludeNamespaces', values['exclude']);
  body['source'] ??= body['destination'] === 'cluster0' ? 'cluster1' : 'cluster0';
  body['destination'] ??= body['source'] === 'cluster1' ? 'cluster0' : 'cluster1';
  const encoded = encodeJsonRequest(messageType('mongoferry.v1.StartRequest'), body);
  violations.push(...encoded.violations);
  if (violations.length > 0) throw invalidRequest(violations);
  return StartRequest.decode(encoded.bytes);
}

/** Fields that are written in another case of letters under the names that flags replace; not those that stand twice. */
function withOwnNames(body: JsonObject): JsonObject {
  const own = new Map(START_FLAGS.map(({ name }) => [name.toLowerCase(), name]));
  const result: JsonObject = {};
  for (const [name, value] of Object.entries(body)) {
    const ownName = own.get(name.toLowerCase()) ?? name;
    result[Object.hasOwn(body, ownName) || Object.hasOwn(result, ownName) ? name : ownName] = value;
  }
  return result;
}

/** `shop` is a whole database, `shop.items` one collection: a database's name holds no dot. */
function addNamed(body: JsonObject, field: string, names: unknown): void {
  if (!Array.isArray(names)) return;
  const byDatabase = new Map<string, string[] | undefined>();
  for (const name of names as string[]) {
    const dot = name.indexOf('.');
    if (dot < 0) byDatabase.set(name, undefined);
    else {
      const database = name.slice(0, dot);
      const known = byDatabase.has(database) ? byDatabase.get(database) : [];
      byDatabase.set(database, known && [...known, name.slice(dot + 1)]);
    }
  }
  const entries = [...byDatabase].map(([database, collections]) =>
    collections === undefined ? { database } : { database, collections },
  );
  const earlier = body[field];
  body[field] = [...(Array.isArray(earlier) ? earlier : []), ...entries];
}

async function readFileBody(path: unknown, io: Io, violations: FieldViolation[]): Promise<JsonObject> {
  if (typeof path !== 'string') return {};
  let text: string;
  try {
    text = path === '-' ? await io.readStdin() : io.readFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    throw invalidRequest([{ field: 'file', description: `cannot read ${path} (${code})` }]);
  }
  const value = parse('file', text, violations);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw invalidRequest(
    violations.length > 0 ? violations : [{ field: 'file', description: 'must hold a JSON object' }],
  );
}

function flagValue({ name, kind }: StartFlag, text: string, violations: FieldViolation[]): JsonValue | undefined {
  if (kind === 'json') return parse(name, text, violations);
  if (kind === 'text') return text;
  const truth = TRUTH.get(text.toLowerCase());
  if (kind === 'blocking') return truth ?? text;
  if (truth === undefined) violations.push({ field: name, description: 'must be true or false' });
  return name === 'verification' ? { enabled: truth ?? null } : truth;
}

const TRUTH: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['false', false],
]);

function parse(field: string, text: string, violations: FieldViolation[]): JsonValue | undefined {
  try {
    const parsed = parseJsonText(text);
    violations.push(...parsed.violations);
    return parsed.value;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    violations.push({ field, description: error.message.replace(/^the body /, '') });
    return undefined;
  }
}
