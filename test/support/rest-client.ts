/** Calls the HTTP door as mongosync's runbooks do. */
import { eventually } from './within.js';

/** An answer of the HTTP door with its JSON body. */
export interface RestAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A progress body's inner object. */
export type RestProgress = Readonly<Record<string, unknown>>;

/** Calls as mongosync's runbooks have them: `curl -XPOST --data '…'`, which calls every body a form. */
export class RestClient {
  readonly #baseUrl: () => string;

  /** `baseUrl` is asked at every call, since a restarted server has a new port. */
  constructor(baseUrl: () => string) {
    this.#baseUrl = baseUrl;
  }

  /** POSTs the text as it is to `/api/v1/<call>`. */
  async post(call: string, text = '{ }'): Promise<RestAnswer> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return await this.#fetch(`/api/v1/${call}`, { method: 'POST', headers, body: text });
  }

  async get(path: string): Promise<RestAnswer> {
    return await this.#fetch(path, {});
  }

  /** `GET /api/v1/progress`, its inner object. Errors: any answer but 200. */
  async progress(): Promise<RestProgress> {
    const { status, body } = await this.get('/api/v1/progress');
    if (status !== 200) throw new Error(`progress answered ${status}: ${JSON.stringify(body)}`);
    return body['progress'] as RestProgress;
  }

  /** Waits for a progress that `wanted` accepts; fails at once, with its text, when the migration has failed. */
  async waitFor(what: string, wanted: (progress: RestProgress) => boolean, ms = 30_000): Promise<RestProgress> {
    let last: RestProgress = {};
    const look = async () => {
      last = await this.progress();
      return wanted(last) || failureOf(last) !== undefined;
    };
    await eventually(ms, look, what);
    if (!wanted(last))
      throw new Error(`waited for ${what}, but the migration failed: ${JSON.stringify(failureOf(last))}`);
    return last;
  }

  async #fetch(path: string, init: RequestInit): Promise<RestAnswer> {
    const response = await fetch(`${this.#baseUrl()}${path}`, init);
    const body = (await response.json()) as Record<string, unknown>;
    return { status: response.status, body };
  }
}

/** The failure that a progress tells of. */
export function failureOf(progress: RestProgress): { error: string; errorDescription: string } | undefined {
  const details = progress['details'] as { failure?: { error: string; errorDescription: string } } | null | undefined;
  return details?.failure;
}
