import { randomUUID } from 'node:crypto';
import { GitlabHooks } from '../../gitlab-bridge/gitlab-hooks.ts';
import { GitlabProjects } from '../../gitlab-bridge/gitlab-projects.ts';
import { call } from '../../gitlab-bridge/http-call.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { nodeOfHook } from './hook-plan.ts';
import { testIdStart } from './webhook-delivery.ts';
import { doorSecrets, signing } from './webhook-secrets.ts';

const timeoutMs = 10_000;
/** Each door has a hook in every project: the first few tell. */
const projectsRead = 10;

/** `said` of a machine that answered: what its door made of it. */
interface DoorTested {
  node: string;
  url: string | null;
  ok: boolean;
  said: string;
}

/**
 * Sends each door that GitLab has a hook for what GitLab would send of a job that begins to wait, signed as GitLab signs. Its leader then
 * looks at the queue, as it does anyway. Throws `gitlab-*` where GitLab does not tell its hooks.
 */
export async function testDoors(
  ledger: Ledger,
  way: { url: string; token: string },
  voters: readonly string[],
): Promise<DoorTested[]> {
  const client = new GitlabHooks({ ...way, timeoutMs });
  const projects = await new GitlabProjects({ ...way, timeoutMs }).list();
  const urls = new Map<string, string>();
  for (const { id } of projects.slice(-projectsRead))
    for (const { url } of (await client.list(id)) ?? []) {
      const node = nodeOfHook(url, ledger.mesh.id);
      if (node !== null && !urls.has(node)) urls.set(node, url);
    }
  const named = (node: string): string => ledger.nodes[node]?.name ?? node;
  const tested = [...urls].map(async ([node, url]): Promise<DoorTested> => {
    const answer = await deliver(url, doorSecrets(way.token, ledger.mesh.id, node));
    return { node: named(node), url, ...answer };
  });
  const without = voters
    .filter((node) => !urls.has(node))
    .map(
      (node): DoorTested => ({
        node: named(node),
        url: null,
        ok: false,
        said:
          projects.length === 0
            ? 'GitLab has no project yet, and so no hook to it'
            : 'GitLab has no hook to it: it has no door (join --webhook), or its status says why',
      }),
    );
  return [...(await Promise.all(tested)), ...without].sort((a, b) => a.node.localeCompare(b.node));
}

async function deliver(url: string, secrets: ReturnType<typeof doorSecrets>): Promise<{ ok: boolean; said: string }> {
  const [id, seconds] = [`${testIdStart}${randomUUID()}`, String(Math.floor(Date.now() / 1000))];
  const body = JSON.stringify({ object_kind: 'build', build_status: 'pending', autogit: 'test' });
  try {
    const reply = await call({
      method: 'POST',
      url,
      body,
      headers: {
        'Content-Type': 'application/json',
        'User-Agent': 'autogit-node',
        'X-Gitlab-Event': 'Job Hook',
        'X-Gitlab-Token': secrets.token,
        'webhook-id': id,
        'webhook-timestamp': seconds,
        'webhook-signature': `v1,${signing(secrets.key, id, seconds).update(body).digest('base64')}`,
      },
      timeoutMs,
      limitBytes: 4096,
    });
    const said = asSentence(reply.body.toString('utf8').trim());
    return { ok: reply.status === 200, said: reply.status === 200 ? said : `HTTP ${reply.status}: ${said}` };
  } catch (error) {
    return { ok: false, said: asSentence(`no answer: ${sentenceOf(error)}`) };
  }
}
