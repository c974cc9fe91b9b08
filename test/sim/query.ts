/** Evaluates the few forms of queries that the engine sends, on raw documents. What is not known is thrown. */
import { type Field, fieldOf, Type, toField } from './raw.js';
import { rankOf, sortKey } from './sort-key.js';
import { SimulationError } from './world.js';

type Condition = ReadonlyMap<string, unknown>;

/** A query made ready: whether a raw document matches. */
export type Matcher = (doc: Buffer) => boolean;

/** `foldsCase`: as of a collection whose collation does not tell letters' cases apart. */
export function matcher(query: unknown, foldsCase = false): Matcher {
  const tests = [...entriesOf(query)].map(([name, value]) => testOf(name, value, foldsCase));
  return (doc) => tests.every((test) => test(doc));
}

/** The entries of a Map or a plain object. */
export function entriesOf(value: unknown): Map<string, unknown> {
  return value instanceof Map ? value : new Map(Object.entries((value ?? {}) as object));
}

function testOf(name: string, value: unknown, foldsCase: boolean): Matcher {
  if (name === '$and') {
    const all = (value as unknown[]).map((each) => matcher(each, foldsCase));
    return (doc) => all.every((test) => test(doc));
  }
  if (name.startsWith('$')) throw new SimulationError(`the query operator ${name} is not simulated`);
  const path = name.split('.');
  const conditions = conditionsOf(value);
  const tests = [...conditions].map(([operator, operand]) => valueTest(operator, operand, foldsCase));
  return (doc) => tests.every((test) => test(fieldAt(doc, path)));
}

function conditionsOf(value: unknown): Condition {
  const entries = isPlain(value) ? entriesOf(value) : new Map<string, unknown>();
  const [first] = entries.keys();
  return first?.startsWith('$') === true ? entries : new Map([['$eq', value]]);
}

function isPlain(value: unknown): boolean {
  if (value instanceof Map) return true;
  return value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype;
}

function fieldAt(doc: Buffer, path: readonly string[]): Field | undefined {
  let field = fieldOf(doc, path[0] as string);
  for (const name of path.slice(1)) field = field?.type === Type.document ? fieldOf(field.value, name) : undefined;
  return field;
}

type ValueTest = (field: Field | undefined) => boolean;

function valueTest(operator: string, operand: unknown, foldsCase: boolean): ValueTest {
  switch (operator) {
    case '$eq':
      return equals(operand, foldsCase);
    case '$in': {
      const keys = new Set((operand as unknown[]).map((each) => sortKey(toField('', each), foldsCase)));
      return (field) => field !== undefined && keys.has(sortKey(field, foldsCase));
    }
    case '$gt': {
      const key = sortKey(toField('', operand), foldsCase);
      return (field) => {
        const own = field === undefined ? undefined : sortKey(field, foldsCase);
        return own !== undefined && rankOf(own) === rankOf(key) && own > key;
      };
    }
    case '$not': {
      const inner = [...conditionsOf(operand)].map(([name, value]) => valueTest(name, value, foldsCase));
      return (field) => !inner.every((test) => test(field));
    }
    case '$regex': {
      const regex = new RegExp(String(operand));
      return (field) =>
        field?.type === Type.string && regex.test(field.value.toString('utf8', 4, field.value.length - 1));
    }
    default:
      throw new SimulationError(`the query operator ${operator} is not simulated`);
  }
}

function equals(operand: unknown, foldsCase: boolean): ValueTest {
  if (operand instanceof RegExp)
    return (field) =>
      field?.type === Type.string && operand.test(field.value.toString('utf8', 4, field.value.length - 1));
  if (operand === null) return (field) => field === undefined || field.type === Type.null;
  const key = sortKey(toField('', operand), foldsCase);
  return (field) => field !== undefined && sortKey(field, foldsCase) === key;
}
