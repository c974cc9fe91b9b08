import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { JsonSyntaxError, parseJsonText } from '../../../src/api/json/json-text.js';

test('reads every JSON text as JSON.parse does', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(undefined, 2, '\t'), (value, space) => {
      const text = JSON.stringify(value, undefined, space);
      if (text.includes('"__proto__"') || /\\ud[89a-f]/i.test(text)) return;
      const parsed = parseJsonText(text);
      assert.equal(parsed.value, JSON.parse(text));
      assert.equal(parsed.violations, []);
    }),
  );
});

test('never accepts what JSON.parse refuses, trailing commas aside', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '"',
    '1',
    '-',
    '01',
    '1.',
    'true',
    'nul',
    ' ',
    '\n',
    '\\',
    'NaN',
    "'",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
      const text = parts.join('');
      let strict: unknown;
      try {
        strict = JSON.parse(text);
      } catch {
        strict = undefined;
      }
      let ours: unknown;
      try {
        ours = parseJsonText(text).value;
      } catch (error) {
        assert.instance(error, JsonSyntaxError);
        ours = undefined;
      }
      if (strict !== undefined) assert.ok(ours !== undefined, `refused ${text}`);
      else if (ours !== undefined) assert.ok(/,\s*[}\]]/.test(text), `accepted ${text}`);
    }),
    { numRuns: 3000 },
  );
});

const accepted: readonly (readonly [string, unknown])[] = [
  ['{"a": 1,}', { a: 1 }],
  ['{"a": [1, 2,\n],\n}', { a: [1, 2] }],
  ['["a,]", "b,}",]', ['a,]', 'b,}']],
  [' {} ', {}],
  ['"\\u00e4\\n"', 'ä\n'],
];
for (const [text, value] of accepted) {
  test(`accepts ${JSON.stringify(text)}`, () => assert.equal(parseJsonText(text).value, value));
}

const refused: readonly (readonly [string, RegExp])[] = [
  ['{,}', /line 1, column 2/],
  ['[,]', /line 1, column 2/],
  ['[1,,]', /line 1, column 4/],
  ['{"a":\n tru}', /line 2, column 2/],
  ['{"a" 1}', /":" is expected/],
  ['{} {}', /after the end/],
  ['{"a":"\n"}', /control character/],
  ['"\\x"', /escape/],
  ['"\\ud800"', /surrogate/],
  ['[1e999]', /too large/],
  ['{"a', /not closed/],
  ['', /too early/],
  ['['.repeat(100_000), /deeper than 30/],
];
for (const [text, says] of refused) {
  test(`refuses ${JSON.stringify(text.slice(0, 20))} and says where, quoting nothing`, () => {
    assert.throws(
      () => parseJsonText(text),
      (error: Error) => error instanceof JsonSyntaxError && says.test(error.message),
    );
  });
}

test('notes names that stand twice and __proto__, with their paths', () => {
  const { value, violations } = parseJsonText('{"a": [{"b": 1, "\\u0062": 2}], "__proto__": {"x": 1}, "a": 3}');
  assert.equal(
    violations.map(({ field }) => field),
    ['a[0].b', '__proto__', 'a'],
  );
  assert.equal(value, { a: [{ b: 1 }] });
  assert.is(Object.getPrototypeOf(value), Object.prototype);
});

test.run();
