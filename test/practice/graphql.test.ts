import { describe, expect, it } from 'vitest';
import { call, graphql, practice, project, put, runner } from './rig.ts';

const names = (answer: { data: { jobs: { nodes: { name: string }[] } } }): string[] =>
  answer.data.jobs.nodes.map((job) => job.name);

describe('POST /api/graphql', () => {
  it('jobs: newest first, with the fields of CiJob, for administrators', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {tags: [gpu], script: x}\nb: {script: x}\n');
    const taker = await runner(gitlab, { tag_list: 'gpu', description: 'gpus' });
    const job = await taker.take();
    const answer = await graphql(
      gitlab,
      `{ jobs(statuses: [PENDING, RUNNING]) { count nodes { id name status tags createdAt queuedAt queuedDuration startedAt refName shortSha
         stage { name } project { id fullPath } pipeline { id iid status } runner { id description } runnerManager { systemId }
         stuck retried allowFailure failureMessage exitCode webPath } pageInfo { hasNextPage endCursor } } }`,
    );
    expect(answer.errors).toBeUndefined();
    expect(answer.data.jobs.count).toBe(2);
    expect(answer.data.jobs.nodes[0]).toMatchObject({
      id: 'gid://gitlab/Ci::Build/2',
      name: 'b',
      status: 'PENDING',
      tags: [],
      runner: null,
      stuck: false,
    });
    expect(answer.data.jobs.nodes[1]).toMatchObject({
      id: `gid://gitlab/Ci::Build/${job.id}`,
      name: 'a',
      status: 'RUNNING',
      tags: ['gpu'],
      stage: { name: 'test' },
      project: { id: 'gid://gitlab/Project/1', fullPath: 'root/lab' },
      pipeline: { iid: '1', status: 'RUNNING' },
      runner: { id: `gid://gitlab/Ci::Runner/${taker.id}`, description: 'gpus' },
      runnerManager: { systemId: 's_test' },
      retried: false,
      allowFailure: false,
      webPath: '/root/lab/-/jobs/1',
    });
    await put(gitlab, job, 'failed', { failure_reason: 'script_failure', exit_code: 2 });
    const failed = await graphql(gitlab, '{ jobs(statuses: [FAILED]) { nodes { failureMessage exitCode } } }');
    expect(failed.data.jobs.nodes).toEqual([{ failureMessage: 'script_failure', exitCode: 2 }]);
  });

  it('pages both ways: oldest first by last and before', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {script: x, parallel: 5}\n');
    const page = async (args: string) =>
      (
        await graphql(
          gitlab,
          `{ jobs(statuses: [PENDING], ${args}) { nodes { name } pageInfo { startCursor endCursor hasNextPage hasPreviousPage } } }`,
        )
      ).data.jobs;
    const newest = await page('first: 2');
    expect(newest.nodes.map((job: { name: string }) => job.name)).toEqual(['a 5/5', 'a 4/5']);
    expect(newest.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const after = await page(`first: 10, after: "${newest.pageInfo.endCursor}"`);
    expect(after.nodes).toHaveLength(3);
    expect(after.pageInfo.hasNextPage).toBe(false);
    const oldest = await page('last: 2');
    expect(oldest.nodes.map((job: { name: string }) => job.name)).toEqual(['a 2/5', 'a 1/5']);
    expect(oldest.pageInfo).toMatchObject({ hasPreviousPage: true, hasNextPage: false });
    const next = await page(`last: 2, before: "${oldest.pageInfo.startCursor}"`);
    expect(next.nodes.map((job: { name: string }) => job.name)).toEqual(['a 4/5', 'a 3/5']);
    expect((await graphql(gitlab, '{ jobs(after: "nonsense") { nodes { name } } }')).errors[0].message).toContain(
      'valid cursor',
    );
  });

  it('compatibleRunnerId shows what a runner could take, and only with PENDING', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {tags: [gpu], script: x}\nb: {tags: [cpu-1], script: x}\nc: {script: x}\n');
    const gpu = await runner(gitlab, { tag_list: 'gpu', run_untagged: false });
    const id = `gid://gitlab/Ci::Runner/${gpu.id}`;
    expect(
      names(await graphql(gitlab, `{ jobs(statuses: [PENDING], compatibleRunnerId: "${id}") { nodes { name } } }`)),
    ).toEqual(['a']);
    const refused = await graphql(
      gitlab,
      `{ jobs(statuses: [RUNNING], compatibleRunnerId: "${id}") { nodes { name } } }`,
    );
    expect(refused.errors[0].message).toContain('compatibleRunnerId');
    expect(
      names(
        await graphql(
          gitlab,
          '{ jobs(statuses: [PENDING], compatibleRunnerId: "gid://gitlab/Ci::Runner/99") { nodes { name } } }',
        ),
      ),
    ).toEqual([]);
    const before = await graphql(gitlab, '{ jobs(statuses: [PENDING]) { nodes { name stuck } } }');
    expect(before.data.jobs.nodes.every((job: { stuck: boolean }) => job.stuck)).toBe(true);
    await gpu.take();
    const after = await graphql(gitlab, '{ jobs(statuses: [PENDING]) { nodes { name stuck } } }');
    expect(after.data.jobs.nodes.every((job: { stuck: boolean }) => job.stuck)).toBe(true);
  });

  it('everybody else gets an empty list, not an error; a wrong token 401', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {script: x}\n');
    const anna = gitlab.createUser('anna');
    const query =
      '{ currentUser { username } jobs(statuses: [PENDING]) { count nodes { name } } project(fullPath: "root/lab") { id } }';
    expect((await graphql(gitlab, query, anna.token)).data).toEqual({
      currentUser: { username: 'anna' },
      jobs: { count: 0, nodes: [] },
      project: null,
    });
    expect((await graphql(gitlab, query, null)).data).toEqual({
      currentUser: null,
      jobs: { count: 0, nodes: [] },
      project: null,
    });
    const wrong = await call(gitlab, 'POST', '/api/graphql', { query }, { 'PRIVATE-TOKEN': 'glpat-wrong' });
    expect([wrong.status, wrong.json.message]).toEqual([401, 'Invalid token']);
    const own = await project(gitlab, 'mine: {script: x}\n', 'own', {}, anna.token);
    const mine = await graphql(
      gitlab,
      '{ project(fullPath: "anna/own") { id jobs(statuses: [PENDING]) { nodes { name } } pipelines { nodes { status } } } }',
      anna.token,
    );
    expect(mine.data.project).toEqual({
      id: `gid://gitlab/Project/${own}`,
      jobs: { nodes: [{ name: 'mine' }] },
      pipelines: { nodes: [{ status: 'PENDING' }] },
    });
  });

  it('counts a query as GitLab does, and refuses what is above the limit of who asks', async () => {
    const gitlab = await practice();
    const anna = gitlab.createUser('anna');
    const count = async (query: string, token: string | null = gitlab.adminToken) => {
      const { data, errors } = await graphql(gitlab, `{ queryComplexity { score limit } ${query} }`, token);
      return errors?.[0].message ?? data.queryComplexity;
    };
    expect(await count('')).toEqual({ score: 3, limit: 300 });
    expect(await count('', anna.token)).toEqual({ score: 3, limit: 250 });
    expect(await count('', null)).toEqual({ score: 3, limit: 200 });
    expect((await count('metadata { version }')).score).toBe(3 + 2);
    // 1 + nodes + id, and 1 % more a row of the page: 100 where nobody says how many, and never more.
    expect((await count('jobs { nodes { id } }')).score).toBe(3 + 6);
    expect((await count('jobs(first: 5000) { nodes { id } }')).score).toBe(3 + 6);
    expect((await count('jobs(last: 34) { nodes { id } }')).score).toBe(3 + 4);
    // Asked twice by one name, or by a fragment, it is one field; by another name it is another.
    expect((await count('jobs { nodes { id } } jobs { nodes { id ... on CiJob { id } } }')).score).toBe(3 + 6);
    expect((await count('jobs { nodes { id } } more: jobs { nodes { id } }')).score).toBe(3 + 12);
    const wide = Array.from({ length: 124 }, (_, index) => `n${index}: metadata { version } `).join('');
    expect(await count(wide, anna.token)).toBe('Query has complexity of 251, which exceeds max complexity of 250');
    expect(await count(wide)).toEqual({ score: 251, limit: 300 });
  });

  it('says what is wrong with a query, and limits it', async () => {
    const gitlab = await practice();
    expect((await graphql(gitlab, '{ jobs { nodes { unknownField } } }')).errors[0].message).toContain('unknownField');
    expect((await graphql(gitlab, '{ jobs(statuses: [BORED]) { count } }')).errors[0].message).toContain('BORED');
    expect((await graphql(gitlab, '{ jobs {')).errors[0].message).toContain('Syntax Error');
    expect((await graphql(gitlab, `{ ${'a: metadata { version } '.repeat(1000)} }`)).errors[0].message).toMatch(
      /too large|tokens/,
    );
    const deep = `{ jobs { nodes { ${'pipeline { jobs { nodes { '.repeat(12)}id${'} } }'.repeat(12)} } } }`;
    expect((await graphql(gitlab, deep)).errors[0].message).toContain('depth');
    expect((await call(gitlab, 'POST', '/api/graphql', { nothing: 1 })).json.error).toBe('query is missing');
    expect((await graphql(gitlab, '{ metadata { version } }')).data.metadata.version).toBe('19.3.0-practice');
  });
});
