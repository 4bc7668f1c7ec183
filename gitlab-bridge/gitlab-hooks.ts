import { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import { AdminDoor } from './admin-door.ts';
import { isHtml, isMissing } from './http-call.ts';

const Listed = z.array(z.object({ id: z.int().positive(), url: z.string(), alert_status: z.string().nullish() }));
const pageSize = 100;
/** GitLab lets a project have 100 of them unless its admin says otherwise. */
const pagesMost = 5;
const settingsPath = '/application/settings';

interface HookWish {
  url: string;
  token: string;
  /** `whsec_…`; a GitLab before 19 does not know it, and does not sign. */
  signingToken: string;
  /** Shown in GitLab's list of hooks, where it is new enough to have names. */
  name: string;
}

/** `isOff`: GitLab sends it nothing, for a while or for good, as the door did not answer several times (some GitLabs do that). */
export interface FoundHook {
  id: number;
  url: string;
  isOff: boolean;
}

/** Webhooks of projects, with an admin's token. Throws AutogitError `gitlab-*`. */
export class GitlabHooks {
  readonly #door: AdminDoor;

  constructor(options: { url: string; token: string; timeoutMs: number }) {
    this.#door = new AdminDoor(options);
  }

  /** Null: that project is gone, or has none that an admin may see. */
  async list(project: number): Promise<FoundHook[] | null> {
    const found: FoundHook[] = [];
    for (let page = 1; page <= pagesMost; page++) {
      const path = `/projects/${project}/hooks?per_page=${pageSize}&page=${page}`;
      const reply = await this.#door.raw('GET', path);
      if (isMissing(reply)) return null;
      const some = this.#door.parse(Listed, 'the hooks of a project', reply);
      for (const { id, url, alert_status } of some)
        found.push({ id, url, isOff: alert_status === 'disabled' || alert_status === 'temporarily_disabled' });
      if (some.length < pageSize) break;
    }
    return found;
  }

  /** Makes it, or makes `hook` so. Answers its id. `gitlab-refused`: GitLab sends nothing to such an address. */
  async set(project: number, hook: number | null, wish: HookWish): Promise<number> {
    const path = `/projects/${project}/hooks${hook === null ? '' : `/${hook}`}`;
    const { url, token, signingToken, name } = wish;
    const reply = await this.#door.raw(hook === null ? 'POST' : 'PUT', path, {
      ...{ url, token, name, description: 'jobs begin sooner: the mesh looks at the queue at once' },
      signing_token: signingToken,
      ...{ push_events: false, job_events: true, pipeline_events: true, enable_ssl_verification: true },
    });
    const isBlocked =
      reply.status === 422 &&
      !isHtml(reply.headers) &&
      /block|not allowed|invalid url/i.test(reply.body.toString('utf8'));
    if (isBlocked) {
      const { host } = new URL(url);
      throw new AutogitError(
        'gitlab-refused',
        `GitLab sends no webhooks to ${host}: its administrator allows none to the local network`,
        {
          hint: `in GitLab, Admin area > Settings > Network > Outbound requests, add to the addresses that hooks may access: ${host}`,
        },
      );
    }
    const Made = z.object({ id: z.int().positive() });
    return this.#door.parse(Made, 'a webhook of a project', reply).id;
  }

  /** Gone already is fine. */
  async remove(project: number, hook: number): Promise<void> {
    const reply = await this.#door.raw('DELETE', `/projects/${project}/hooks/${hook}`);
    if (!isMissing(reply)) this.#door.requireSuccess('the removal of a webhook', reply);
  }

  /**
   * Lets hooks go to that one place of the local network; all else that is allowed stays as it is. `isNew` is waited for first,
   * and only where it was not allowed before.
   */
  async allow(host: string, isNew?: () => Promise<void>): Promise<void> {
    const before = await this.#allowed();
    if (before.includes(host)) return;
    await isNew?.();
    await this.#setAllowed([...before, host]);
  }

  /** Takes those places off that list again. */
  async disallow(hosts: readonly string[]): Promise<void> {
    if (hosts.length === 0) return;
    const before = await this.#allowed();
    const after = before.filter((host) => !hosts.includes(host));
    if (after.length < before.length) await this.#setAllowed(after);
  }

  async #allowed(): Promise<string[]> {
    const Allowed = z.object({ outbound_local_requests_whitelist: z.array(z.string()).nullish() });
    return (await this.#door.json(Allowed, 'GET', settingsPath)).outbound_local_requests_whitelist ?? [];
  }

  async #setAllowed(hosts: readonly string[]): Promise<void> {
    const reply = await this.#door.raw('PUT', settingsPath, { outbound_local_requests_whitelist: hosts });
    this.#door.requireSuccess('the list of local addresses that hooks may reach', reply);
  }
}
