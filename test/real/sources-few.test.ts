import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { findProgram } from '../../node/clean-spawn.ts';
import { GitSources } from '../../node/runs/git-sources.ts';
import { RunLab } from './run-lab.ts';

let lab: RunLab;
const { PATH } = process.env;
afterEach(async () => {
  process.env.PATH = PATH;
  await lab.stop();
});

/** A git before the machine's that writes down what it is asked. */
function listened(folder: string): () => string[] {
  const log = join(folder, 'asked');
  mkdirSync(join(folder, 'bin'));
  const file = join(folder, 'bin', 'git');
  writeFileSync(file, `#!/bin/sh\necho "$*" >> ${log}\nexec ${findProgram('git', PATH)} "$@"\n`);
  chmodSync(file, 0o755);
  process.env.PATH = `${join(folder, 'bin')}:${PATH}`;
  let heard = 0;
  return () => {
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    const names = lines.slice(heard).map((line) => line.replace(/^-c \S+ /, '').split(' ')[0] as string);
    heard = lines.length;
    return names.filter((name) => !name.startsWith('--') && name !== 'http-backend');
  };
}

it('sources take five gits for a pipeline that is new, and ask no server for one that is here, also in packed refs', async () => {
  lab = await RunLab.start({
    '.gitlab-ci.yml': 'one: { script: ["true"] }\n',
    '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
  });
  const payload = await lab.takeJob();
  const { repo_url, sha, refspecs, ref } = payload.git_info ?? {};
  if (!repo_url || !sha || !refspecs || !ref) throw new Error('no sources');
  const spec = {
    gitlabUrl: lab.gitlab.url,
    repoUrl: repo_url,
    token: payload.token,
    sha,
    ref,
    refspecs,
    depth: 20,
    lfs: true,
  };
  const home = join(lab.folder, 'few');
  const sources = new GitSources(home);
  const asked = listened(lab.folder);
  const take = async () => {
    const { tar, remove, lfs } = await sources.fetch(spec, new AbortController().signal);
    tar?.destroy();
    await remove();
    expect(lfs).toEqual([]);
    return asked();
  };
  const tree = ['init', 'fetch', 'checkout', 'ls-tree', 'ls-tree'];
  expect(await take()).toEqual(['init', 'config', 'fetch', ...tree]);
  expect(await take()).toEqual(['rev-parse', ...tree]);
  const [mirror = ''] = readdirSync(join(home, 'mirrors')).filter((name) => name.endsWith('.git'));
  await lab.git('-C', join(home, 'mirrors', mirror), 'pack-refs', '--all');
  asked();
  expect(await take()).toEqual(['rev-parse', ...tree]);
  // Its ref stands elsewhere: GitLab is asked.
  await lab.git('-C', join(home, 'mirrors', mirror), 'update-ref', '-d', refspecs[0]?.split(':')[1] ?? '');
  asked();
  expect(await take()).toEqual(['fetch', ...tree]);
});
