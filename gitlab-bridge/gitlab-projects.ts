import { z } from 'zod';
import { AdminDoor } from './gitlab-admin.ts';

const Basic = z.object({ id: z.int().positive(), path_with_namespace: z.string().max(1024) });
const pageSize = 100;
/** Of a GitLab with more projects than that the others stay without a name. */
const pagesMost = 100;

/** Projects of a GitLab, as an admin sees them. Throws AutogitError `gitlab-*`. */
export class GitlabProjects {
  readonly #door: AdminDoor;

  constructor(options: { url: string; token: string; timeoutMs: number }) {
    this.#door = new AdminDoor(options);
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
