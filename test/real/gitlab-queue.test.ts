import type { Server, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { createGitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { type Answer, answering, ended } from './answering-server.ts';
import { RunLab } from './run-lab.ts';

/** The leader's look at the queue: by a newer and an older GitLab, and what GitLab counts for it. */
let server: Server | null = null;
let lab: RunLab | null = null;
let url = '';

/** A GitLab of which the answer to each request is given. */
async function serve(answer: Answer): Promise<void> {
  ({ server, url } = await answering(answer));
}
afterEach(async () => {
  await ended(server);
  await lab?.stop();
  [server, lab] = [null, null];
});

const json = (response: ServerResponse, body: unknown): void => {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
};
const admin = () => createGitlabAdmin({ url, token: 't', timeoutMs: 5_000 });

describe('the queue', () => {
  it('tells the jobs that are being canceled, and does without where this GitLab does not know that state', async () => {
    const queries: string[] = [];
    let isOld = false;
    await serve((request, response, body) => {
      if (request.url?.endsWith('/user')) return json(response, { username: 'root', is_admin: true });
      const { query } = JSON.parse(body) as { query: string };
      queries.push(query);
      if (isOld && query.includes('CANCELING')) {
        const message = "Argument 'statuses' on Field 'jobs' has an invalid value ([CANCELING])";
        return json(response, { errors: [{ message }] });
      }
      const jobs = { pageInfo: { hasPreviousPage: false, startCursor: null }, nodes: [] };
      json(response, {
        data: { jobs, ...(isOld ? {} : { canceling: { nodes: [{ id: 'gid://gitlab/Ci::Build/7' }, null] } }) },
      });
    });
    expect(await admin().readQueue(10)).toEqual({ jobs: [], complete: true, canceling: [7] });
    isOld = true;
    const old = admin();
    for (let count = 0; count < 2; count += 1)
      expect(await old.readQueue(10)).toEqual({ jobs: [], complete: true, canceling: [] });
    expect(queries.slice(1).map((query) => query.includes('CANCELING'))).toEqual([true, false, false]);
  });

  it('tells the pipeline of each job, and does without where this GitLab does not, or tells it in another form', async () => {
    const queries: string[] = [];
    let isOld = false;
    const node = (id: number, more: object) => ({
      ...{ id: `gid://gitlab/Ci::Build/${id}`, name: 'a', refName: 'main', tags: [], queuedAt: null, createdAt: null },
      ...{ project: { id: 'gid://gitlab/Project/3', fullPath: 'lab/vision' }, ...more },
    });
    await serve((_request, response, body) => {
      const { query } = JSON.parse(body) as { query: string };
      queries.push(query);
      if (isOld && query.includes('CANCELING'))
        return json(response, { errors: [{ message: 'invalid value ([CANCELING])' }] });
      if (isOld && query.includes('pipeline'))
        return json(response, { errors: [{ message: "Field 'pipeline' doesn't exist on type 'CiJob'" }] });
      const odd = [null, { id: 'nonsense' }, { id: 'gid://gitlab/Ci::Pipeline/0' }, 'x', undefined];
      const nodes = isOld
        ? [node(1, {})]
        : [
            ...odd.map((pipeline, index) => node(index + 2, { pipeline })),
            node(1, { pipeline: { id: 'gid://gitlab/Ci::Pipeline/1271' } }),
          ];
      json(response, { data: { jobs: { pageInfo: { hasPreviousPage: false, startCursor: null }, nodes } } });
    });
    const pipelines = async (admin: ReturnType<typeof createGitlabAdmin>) =>
      (await admin.readQueue(10)).jobs.map(({ job, pipeline }) => [job, pipeline]);
    expect(await pipelines(admin())).toEqual([[1, 1271], ...[6, 5, 4, 3, 2].map((job) => [job, undefined])]);
    isOld = true;
    const old = admin();
    for (let count = 0; count < 2; count += 1) expect(await pipelines(old)).toEqual([[1, undefined]]);
    // It is asked for no more.
    expect(queries.slice(1).map((query) => query.includes('pipeline'))).toEqual([true, true, false, false]);
  });

  it('is asked for by a query that GitLab counts as 38, of the 300 that an admin may ask (contract §2)', async () => {
    const practice = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    lab = practice;
    const graphql = async (body: string): Promise<string> => {
      const headers = { 'PRIVATE-TOKEN': practice.gitlab.adminToken, 'Content-Type': 'application/json' };
      return (await fetch(`${practice.gitlab.url}/api/graphql`, { method: 'POST', headers, body })).text();
    };
    const asked: string[] = [];
    await serve((_request, response, body) => {
      asked.push(body);
      void graphql(body).then((answer) => response.end(answer));
    });
    expect((await admin().readQueue(10)).jobs).toHaveLength(1);
    const { query, variables } = JSON.parse(asked[0] as string) as { query: string; variables: object };
    const counted = query.replace(/\}\s*$/, 'queryComplexity { score limit } }');
    const { data } = JSON.parse(await graphql(JSON.stringify({ query: counted, variables })));
    // That it tells the count counts 3.
    expect(data.queryComplexity).toEqual({ score: 38 + 3, limit: 300 });
  });
});
