/** Makes the OpenAPI document of the HTTP door from proto/ and its comments. */
import { type DescField, type DescMessage, type JsonObject, ScalarType } from '@bufbuild/protobuf';
import { commentOf, isJsonNonEmpty, isJsonRequired, shortEnumName, syncService, unsetJson } from '../descriptors.js';
import type { RpcRoute } from './routes.js';

/** Whether a message is sent to the server or by it: what must be there differs. */
type Direction = 'request' | 'response';

/**
 * The OpenAPI 3.1 document of the gateway, made from proto/ and its comments, with the JSON that the gateway really
 * reads and writes: 64-bit integers are integers, and unset fields are null or absent as their options say.
 */
export function buildOpenApi(routes: readonly RpcRoute[]): JsonObject {
  const schemas = new Schemas();
  const paths: Record<string, JsonObject> = {};
  for (const route of routes) {
    const verb = route.rule.method.toLowerCase();
    paths[route.rule.path] = { ...paths[route.rule.path], [verb]: operation(route, schemas) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'mongoferry',
      version: 'v1',
      description: commentOf(syncService),
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: { ...paths, ...processPaths() },
    security: [{}, { token: [] }],
    components: {
      schemas: { ...schemas.all(), Error: ERROR_SCHEMA },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  };
}

const ERROR_SCHEMA: JsonObject = {
  type: 'object',
  description: 'Every answer that is not a success.',
  required: ['success', 'error', 'errorDescription'],
  properties: {
    success: { const: false },
    error: { type: 'string', description: 'A name from the table of errors, e.g. "InvalidRequest".' },
    errorDescription: { type: 'string', description: 'What is wrong. For a bad request: every problem at once.' },
  },
};

const ERROR_RESPONSE: JsonObject = {
  description: 'An error, with the status that its name has in the table of errors.',
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
};

function operation(route: RpcRoute, schemas: Schemas): JsonObject {
  const { method, rule, input, output, rpc } = route;
  const description = commentOf(method);
  const common = {
    operationId: method.localName,
    summary: /^.*?[.](?=\s|$)/.exec(description)?.[0] ?? description,
    description,
    responses: {
      '200': rpc.kind === 'stream' ? eventsResponse(output, schemas) : jsonResponse(output, schemas),
      default: ERROR_RESPONSE,
    },
  };
  if (rule.body === '') return { ...common, parameters: input.fields.map((field) => parameter(field, schemas)) };
  const body = rule.body === '*' ? input : input.fields.find((field) => field.name === rule.body)?.message;
  if (body === undefined) return common;
  return {
    ...common,
    requestBody: { content: { 'application/json': { schema: schemas.reference(body, 'request') } } },
  };
}

function parameter(field: DescField, schemas: Schemas): JsonObject {
  return { name: field.jsonName, in: 'query', description: commentOf(field), schema: schemas.value(field, 'request') };
}

function jsonResponse(output: DescMessage, schemas: Schemas): JsonObject {
  return {
    description: commentOf(output),
    content: { 'application/json': { schema: successSchema(output, schemas) } },
  };
}

function eventsResponse(output: DescMessage, schemas: Schemas): JsonObject {
  const text =
    'Server-sent events. The data of each is JSON as in x-event-schema; an event "error" holds an Error and ends the ' +
    'stream, and so does an event "end" after the last one.';
  return {
    description: commentOf(output),
    content: {
      'text/event-stream': {
        schema: { type: 'string', description: text },
        'x-event-schema': successSchema(output, schemas),
      },
    },
  };
}

function successSchema(output: DescMessage, schemas: Schemas): JsonObject {
  const { properties, required } = schemas.members(output, 'response');
  return {
    type: 'object',
    properties: { success: { const: true }, ...properties },
    required: ['success', ...required],
  };
}

/** The paths that are the process's own and not the service's. */
function processPaths(): JsonObject {
  const get = (operationId: string, summary: string, type: string): JsonObject => ({
    get: {
      operationId,
      summary,
      responses: { '200': { description: summary, content: { [type]: {} } }, default: ERROR_RESPONSE },
    },
  });
  return {
    '/healthz': get('healthz', 'Whether the process answers.', 'application/json'),
    '/readyz': get('readyz', 'Whether both clusters are reachable; 503 while they are not.', 'application/json'),
    '/metrics': get('metrics', 'Metrics as Prometheus text.', 'text/plain'),
    '/openapi.json': get('openapi', 'This document.', 'application/json'),
  };
}

/** Collects the schemas of the messages that are referred to. */
class Schemas {
  readonly #found = new Map<string, JsonObject>();

  all(): JsonObject {
    return Object.fromEntries([...this.#found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  reference(message: DescMessage, direction: Direction): JsonObject {
    if (!this.#found.has(message.name)) {
      this.#found.set(message.name, {});
      const { properties, required } = this.members(message, direction);
      this.#found.set(message.name, {
        type: 'object',
        description: commentOf(message),
        properties,
        ...(required.length > 0 ? { required } : {}),
        ...(direction === 'request' ? { additionalProperties: false } : {}),
      });
    }
    return { $ref: `#/components/schemas/${message.name}` };
  }

  members(message: DescMessage, direction: Direction): { properties: JsonObject; required: string[] } {
    const properties: JsonObject = {};
    for (const field of message.fields) {
      const schema = this.value(field, direction);
      const isNull = direction === 'response' && isOptional(field) && unsetJson(field) === 'null';
      properties[field.jsonName] = {
        ...(isNull ? { anyOf: [schema, { type: 'null' }] } : schema),
        description: commentOf(field),
      };
    }
    const isThere = (field: DescField): boolean =>
      direction === 'request' ? isJsonRequired(field) : isAlwaysWritten(field);
    return { properties, required: message.fields.filter(isThere).map((field) => field.jsonName) };
  }

  value(field: DescField, direction: Direction): JsonObject {
    const single = field.message === undefined ? scalarSchema(field) : this.#messageSchema(field.message, direction);
    if (field.fieldKind !== 'list') return single;
    return { type: 'array', items: single, ...(isJsonNonEmpty(field) ? { minItems: 1 } : {}) };
  }

  #messageSchema(message: DescMessage, direction: Direction): JsonObject {
    switch (message.typeName) {
      case 'google.protobuf.Value':
        return {};
      case 'google.protobuf.Struct':
        return { type: 'object' };
      case 'google.protobuf.Duration':
        return { type: 'string', pattern: '^\\d+(\\.\\d+)?s$', examples: ['1s'] };
      case 'google.protobuf.Timestamp':
        return { type: 'string', format: 'date-time' };
      default:
        return this.reference(message, direction);
    }
  }
}

function isOptional(field: DescField): boolean {
  return field.fieldKind === 'message' || field.proto.proto3Optional;
}

function isAlwaysWritten(field: DescField): boolean {
  if (field.fieldKind === 'list') return unsetJson(field) !== 'omit';
  return !isOptional(field) || unsetJson(field) === 'null';
}

function scalarSchema(field: DescField): JsonObject {
  if (field.enum !== undefined) {
    const type = field.enum;
    return {
      type: 'string',
      enum: type.values.filter(({ number }) => number !== 0).map(({ name }) => shortEnumName(type, name)),
    };
  }
  switch (field.scalar) {
    case ScalarType.BOOL:
      return { type: 'boolean' };
    case ScalarType.INT32:
      return { type: 'integer', format: 'int32' };
    case ScalarType.INT64:
      return { type: 'integer', format: 'int64' };
    case ScalarType.DOUBLE:
      return { type: 'number' };
    default:
      return { type: 'string' };
  }
}
