import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { GitSources } from '../../node/runs/git-sources.ts';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

const ci = (depth: number): string => `
variables: { GIT_DEPTH: "${depth}" }
first: { script: ["git log --format=%s; git branch -r; git tag; cat file"] }
second: { script: ["cat file"] }
`;

/** Three commits, a branch and a tag; the pipeline of the last commit alone is left to run. */
async function history(depth: number): Promise<void> {
  lab = await RunLab.start({ '.gitlab-ci.yml': ci(depth), file: 'one\n' });
  for (const name of ['two', 'three']) {
    writeFileSync(join(lab.folder, 'tree', 'file'), `${name}\n`);
    await lab.git('commit', '-q', '-a', '-m', name);
  }
  await lab.git('tag', 'v1', 'HEAD~1');
  await lab.git('push', '-q', '-o', 'ci.skip', lab.address, 'HEAD~1:refs/heads/other', 'v1');
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  const { jobs } = await lab.admin.readQueue(100);
  for (const { job } of jobs.slice(0, -2)) await lab.admin.cancelJob(lab.projectId, job);
}

describe('sources', () => {
  it('are shallow as asked, and fetched once for the jobs of a pipeline', async () => {
    await history(2);
    await lab.agent();
    expect(await lab.traceOfNext()).toContain('cat file\nthree\ntwo\n  origin/main\nv1\nthree\n');
    expect(await lab.traceOfNext()).toContain('$ cat file\nthree\n');
    // Nothing of the token, nor of a tree, stays on the machine.
    const mirrors = join(lab.home, 'mirrors');
    expect(readdirSync(join(mirrors, 'trees'))).toEqual([]);
    for (const name of readdirSync(mirrors))
      if (existsSync(join(mirrors, name, 'config')))
        expect(readFileSync(join(mirrors, name, 'config'), 'utf8')).not.toMatch(/glcbt|http/);
  });

  it('keep names that are no UTF-8, and all that sorts after them (public-reports 1)', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': 'names: { script: ["git status --short", "cat zz-last", "ls | wc -l"] }\n',
      'zz-last': 'last\n',
    });
    writeFileSync(Buffer.from(`${lab.folder}/tree/lat\xe9n`, 'latin1'), 'latin\n');
    await lab.git('add', '-A');
    await lab.git('commit', '-q', '-m', 'a name of another time');
    const { jobs } = await lab.admin.readQueue(100);
    await lab.git('push', '-q', lab.address, 'HEAD:main');
    for (const { job } of jobs) await lab.admin.cancelJob(lab.projectId, job);
    await lab.agent();
    expect(await lab.traceOfNext()).toContain('$ git status --short\n$ cat zz-last\nlast\n$ ls | wc -l\n2\n');
  });

  it('are whole with depth 0: every commit, branch and tag', async () => {
    await history(0);
    await lab.agent();
    const trace = await lab.traceOfNext();
    expect(trace).toContain('cat file\nthree\ntwo\nfirst\n  origin/main\n  origin/other\nv1\nthree\n');
  });

  it('are those of a branch of any name, also where a tag is called so, and of many pushes in a row (public-reports 25)', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml':
        'only: { script: [\'echo "<$CI_COMMIT_REF_NAME> [$CI_COMMIT_TAG]"; git log -1 --format=%s; cat file\'] }\n',
      file: 'first\n',
    });
    const own = ['fix/größe-ü#1+%41', 'it\'s-"so"-`id`;&', '@weird,(name)', 'HEAD-', 'a'.repeat(120)];
    await lab.agent();
    expect(await lab.traceOfNext()).toContain('<main> []\nfirst\nfirst\n');
    for (const [index, name] of [...own, ...Array.from({ length: 10 }, () => 'main')].entries()) {
      writeFileSync(join(lab.folder, 'tree', 'file'), `file ${index}\n`);
      await lab.git('commit', '-q', '-a', '-m', `commit ${index}`);
      await lab.git('push', '-q', lab.address, `HEAD:refs/heads/${name}`);
      expect(await lab.traceOfNext()).toContain(`<${name}> []\ncommit ${index}\nfile ${index}\n`);
    }
    await lab.git('push', '-q', lab.address, 'HEAD~3:refs/heads/same');
    expect(await lab.traceOfNext()).toContain('<same> []\ncommit 11\nfile 11\n');
    await lab.git('push', '-q', lab.address, 'HEAD:refs/tags/same');
    expect(await lab.traceOfNext()).toContain('<same> [same]\ncommit 14\nfile 14\n');
  });

  it('of a commit that is here are got while GitLab restarts, for a pipeline that is new (chaos C3)', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["cat file"] }\n', file: 'here\n' });
    await lab.agent();
    expect(await lab.traceOfNext()).toContain('$ cat file\nhere\n');
    // The same commit on another branch: a pipeline whose ref this machine never got.
    await lab.git('push', '-q', lab.address, 'HEAD:again');
    const run = await lab.begin();
    await lab.gitlab.down();
    await until('the sources', async () => (await lab.traceHere(run)).includes('$ cat file'));
    await lab.gitlab.up();
    const ended = await lab.ended(run);
    const trace = plainText(await lab.traceAt(run));
    expect(ended.result, trace).toMatchObject({ state: 'success' });
    expect(trace).toContain('(ref is again)');
  });

  it('fail in words: a token that GitLab refuses, a GitLab that is away', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    const sources = new GitSources(lab.home);
    const spec = {
      gitlabUrl: lab.gitlab.url,
      repoUrl: `http://elsewhere.invalid:1/root/sample.git`,
      token: lab.gitlab.adminToken,
      sha: '1234567890123456789012345678901234567890',
      ref: 'main',
      refspecs: ['+refs/heads/main:refs/remotes/origin/main'],
      depth: 5,
    };
    const { signal } = new AbortController();
    await expect(sources.fetch({ ...spec, token: 'glcbt-wrong' }, signal)).rejects.toMatchObject({
      isAway: false,
      message: expect.stringMatching(/Authentication failed|Access denied|terminal prompts disabled|could not read/),
    });
    const { stdout } = await lab.git('rev-parse', 'HEAD');
    lab.gitlab.boot(60_000);
    await expect(sources.fetch({ ...spec, sha: stdout.trim() }, signal)).rejects.toMatchObject({ isAway: true });
    lab.gitlab.boot(0);
    await lab.gitlab.down();
    await expect(sources.fetch({ ...spec, sha: stdout.trim() }, signal)).rejects.toMatchObject({ isAway: true });
    await lab.gitlab.up();
  });
});
