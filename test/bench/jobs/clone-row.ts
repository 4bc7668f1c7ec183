import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Row, ratioAtMost, row } from '../figures.ts';
import { helperContainer } from './bare-engine.ts';
import type { JobsStage } from './jobs-stage.ts';

const run = promisify(execFile);
const fileBytes = 1 << 20;

/**
 * A repository of so many bytes, a commit more before each job; the second job and all after it against git's own fetch
 * into a kept tree: in a container, as the official runner's docker executor does it (without the dozen other commands
 * of its script), and on the bare machine, which isolates nothing and is no target.
 */
export async function cloneRow(stage: JobsStage, trials: number, bytes: number): Promise<Row[]> {
  const files = Math.max(1, Math.round(bytes / fileBytes));
  const project = await stage.project(
    'clone',
    `job: { image: '${stage.images.bash}', tags: [docker], script: ['true'] }\n`,
  );
  const { http_url_to_repo: remote } = await stage.gitlab.api<{ http_url_to_repo: string }>(`/projects/${project}`);
  const folder = mkdtempSync(join(tmpdir(), 'autogit-bench-clone-'));
  const auth = `Authorization: Basic ${Buffer.from(`root:${stage.gitlab.token}`).toString('base64')}`;
  const git = async (tree: string, ...args: string[]): Promise<void> => {
    const known = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost', '-c', `http.extraHeader=${auth}`];
    await run('git', ['-C', join(folder, tree), ...known, ...args], { maxBuffer: 64 << 20 });
  };
  const ours: number[] = [];
  const official: number[] = [];
  const bare: number[] = [];
  // Two kept trees, or the second to fetch would find all there.
  const fetched = [
    'git fetch -q --depth 20 origin +refs/heads/main:refs/remotes/origin/main',
    'git checkout -q -f --detach origin/main',
    'git clean -ffdxq',
  ].join('\n');
  try {
    await git('', 'clone', '-q', remote, 'work');
    await run('bash', [
      '-ec',
      `cd '${folder}/work'; mkdir -p big; for i in $(seq ${files}); do head -c ${fileBytes} /dev/urandom >big/$i; done`,
    ]);
    const next = async (trial: number): Promise<void> => {
      await run('bash', ['-ec', `echo ${trial} >'${folder}/work/changed'`]);
      await git('work', 'add', '-A');
      await git('work', 'commit', '-q', '-m', `${trial}`);
      await git('work', 'push', '-q', 'origin', 'HEAD:main');
    };
    // The first job and the kept tree have it all once; what it was before was too small for a tree that stays, so the next one makes it.
    for (const commit of [-1, 0]) {
      await next(commit);
      await stage.ended(project, 900_000);
    }
    for (const tree of ['kept', 'bare']) {
      await git('', 'clone', '-q', remote, tree);
      await git(tree, 'config', 'http.extraHeader', auth);
    }
    for (let trial = 1; trial <= trials; trial++) {
      stage.sections.forget();
      await next(trial);
      await stage.ended(project, 900_000);
      ours.push(stage.sections.take('get_sources'));
      official.push(await helperContainer(stage.images.bash, fetched, join(folder, 'kept')));
      const began = performance.now();
      await run('bash', ['-ec', fetched], { cwd: join(folder, 'bare') });
      bare.push((performance.now() - began) / 1000);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const note = `${files} MiB of random bytes, one small commit more each; ours by the trace’s section; the practice GitLab answers at its real pace`;
  const measure = { measure: 'sources of a second job, docker', unit: 's', ours };
  return [
    row({
      ...{ ...measure, note, against: { name: 'git fetch into a kept tree, in a container', values: official } },
      targets: [ratioAtMost(1.1)],
    }),
    row({
      ...{ ...measure, note: 'no target: nothing isolates it', targets: [] },
      against: { name: 'the same on the bare machine', values: bare },
    }),
  ];
}
