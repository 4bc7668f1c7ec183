import { z } from 'zod';
import { AdminDoor } from './admin-door.ts';
import { isMissing } from './http-call.ts';

const Basic = z.object({ id: z.int().positive(), path_with_namespace: z.string().max(1024) });
const Whole = Basic.extend({ path: z.string(), namespace: z.object({ id: z.int().positive() }) });
type Whole = z.infer<typeof Whole>;
const pageSize = 100;
/** Of a GitLab with more projects than that the others stay without a name. */
const pagesMost = 100;

/** Projects of a GitLab, as an admin sees them. Throws AutogitError `gitlab-*`. */
export class GitlabProjects {
  readonly #door: AdminDoor;

  constructor(options: { url: string; token: string; timeoutMs: number }) {
    this.#door = new AdminDoor(options);
  }

  /** By its id, or its path with namespace; null where there is none. */
  async find(name: number | string): Promise<Whole | null> {
    const path = `/projects/${encodeURIComponent(name)}`;
    const reply = await this.#door.raw('GET', path);
    return isMissing(reply) ? null : this.#door.parse(Whole, path, reply);
  }

  /**
   * Nobody but its members sees it, and its CI/CD is off, so that no push makes a pipeline. `namespace` null: the token's owner's.
   * Null where that path is taken.
   */
  async create(path: string, namespace: number | null): Promise<Whole | null> {
    const reply = await this.#door.raw('POST', '/projects', {
      ...{ path, name: path, visibility: 'private', builds_access_level: 'disabled' },
      ...(namespace !== null && { namespace_id: namespace }),
    });
    if (reply.status === 400 && /already been taken/.test(reply.body.toString('utf8'))) return null;
    return this.#door.parse(Whole, 'the making of a project', reply);
  }

  async setDefaultBranch(id: number, branch: string): Promise<void> {
    this.#door.requireSuccess(
      'the choice of a default branch',
      await this.#door.raw('PUT', `/projects/${id}`, { default_branch: branch }),
    );
  }

  /** A wiki has a repository from its first page on. */
  async beginWiki(id: number): Promise<void> {
    const page = { title: 'home', content: 'Restored in a moment.' };
    this.#door.requireSuccess('the making of a wiki', await this.#door.raw('POST', `/projects/${id}/wikis`, page));
  }

  async remove(id: number): Promise<void> {
    this.#door.requireSuccess('the removal of a project', await this.#door.raw('DELETE', `/projects/${id}`));
  }

  async list(): Promise<{ id: number; path: string }[]> {
    const found: { id: number; path: string }[] = [];
    for (let page = 1; page <= pagesMost; page++) {
      const query = `simple=true&order_by=id&sort=asc&per_page=${pageSize}&page=${page}`;
      const some = await this.#door.json(z.array(Basic), 'GET', `/projects?${query}`);
      found.push(...some.map(({ id, path_with_namespace: path }) => ({ id, path })));
      if (some.length < pageSize) break;
    }
    return found;
  }
}
