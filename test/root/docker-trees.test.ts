import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { keptTree, never, runStep, specOf } from '../contract/executor-steps.ts';
import { RunLab } from '../real/run-lab.ts';
import { makeTestImages, removeNetwork, testImages } from './test-image.ts';

const node = `tree-${process.pid}`;
let lab: RunLab;
let executor: DockerExecutor;
const said: string[] = [];
const volumes = (): string[] => {
  const asked = ['volume', 'ls', '-q', '--filter', `label=autogit.node=${node}`, '--filter', 'label=autogit.tree'];
  return execFileSync('docker', asked, { encoding: 'utf8' }).split('\n').filter(Boolean);
};
const newExecutor = (limitBytes: number | null): DockerExecutor =>
  new DockerExecutor({
    ...{ node, home: lab.home, trees: { limitBytes, ageMs: 86_400_000, roomPercent: 0 } },
    note: (run, sentence) => lab.supervisor?.note(run, sentence),
    log: { info: (line) => said.push(line), warn: (line) => said.push(line) },
  });
afterEach(async () => {
  await lab.stop();
  await executor.sweep(new Set());
  removeNetwork(node);
  for (const volume of volumes()) execFileSync('docker', ['volume', 'rm', volume]);
});

it('a tree stays in a volume for the next job, whose image needs no git; not for another user; and goes by its limit', async () => {
  makeTestImages();
  lab = await RunLab.start({
    '.gitlab-ci.yml': `
default: { image: "${testImages.bash}" }
variables: { GIT_CLEAN_FLAGS: "-ffdx -e kept/" }
a: { script: ["ls; mkdir kept; echo of-a >kept/note; echo junk >junk; git config core.fsmonitor 'touch /builds/ran'; touch .git/index.lock"] }
b: { image: "${testImages.busybox}", script: ["ls; cat kept/note file; rm kept/note"] }
c: { image: "${testImages.sh}", script: ["id -u; ls; cat file; echo of-c >c; mkdir kept; ls -ld ."] }
d:
  image: "${testImages.sh}"
  services: [{ name: "${testImages.busybox}", command: [sh, -c, "cd /builds/root/sample; until [ -e c ]; do sleep 0.1; done; echo of-service >kept/note"] }]
  script: ["echo x >c; until [ -e kept/note ]; do sleep 0.1; done; cat kept/note"]
d2: { image: "${testImages.sh}", script: ["ls; cat file; ls -ld ."] }
e: { image: "${testImages.sh}", variables: { GIT_STRATEGY: "none" }, script: ["ls"] }
`,
    file: 'one\n',
    '.gitignore': 'kept/\n',
  });
  executor = newExecutor(null);
  lab.executor = () => executor;
  await lab.agent();
  expect(await lab.traceOfNext()).toContain('into a tree that stays here');
  writeFileSync(join(lab.folder, 'tree', 'file'), 'two\n');
  const b = await lab.traceOfNext();
  expect(b).toContain('into the tree that a job before left here\nRemoving junk\n');
  expect(b).toContain('file\nkept\nof-a\none\n');
  const c = await lab.traceOfNext();
  expect(c).toContain('into a tree that stays here');
  expect(c).toMatch(/\n1234\nfile\none\n[^\n]* dev +dev /);
  // A service sees the tree that stays, and nobody else's; it does not keep the next job from it.
  const beside = await lab.traceOfNext();
  expect(beside).toContain('into the tree that a job before left here\nRemoving c\n');
  expect(beside).toContain('of-service\n');
  const d = await lab.traceOfNext();
  expect(d).toContain('into the tree that a job before left here\nRemoving c\n');
  expect(d).toMatch(/\nfile\nkept\none\n[^\n]* dev +dev /);
  expect(volumes()).toHaveLength(1);
  // Of a job that wants it as it is. With less room given it goes when nobody has it.
  await lab.stopAgent();
  executor = newExecutor(1);
  await lab.agent();
  expect(await lab.traceOfNext()).toContain('file\nkept\n');
  await expect.poll(volumes, { timeout: 10_000 }).toEqual([]);
  // It is said when the engine has answered.
  await expect
    .poll(() => said.join('\n'))
    .toMatch(/removed the kept tree of a project \(http.*\): kept trees have a limit/);
});

it('is made anew with its tree where the call that began it was not answered, and no git of a try stays idle', async () => {
  makeTestImages();
  lab = await RunLab.start({ file: 'x' });
  executor = newExecutor(null);
  const before = await executor.prepare(specOf('before', testImages.bash, { tree: keptTree() }), never);
  await runStep(before, 0, 'echo of-before >left');
  await before.remove();
  const spec = specOf('lost', testImages.bash, { tree: keptTree() });
  await newExecutor(null).prepare(spec, never);
  const again = await newExecutor(null).prepare(spec, never);
  expect(again.tree?.isLeft).toBe(true);
  const listed = await again.tree!.run('cat left', [], {}, never);
  listed.input.end();
  const [said] = await Promise.all([text(listed.output), listed.ended]);
  expect(said).toBe('of-before\n');
  await again.remove();
  const asked = ['ps', '-aq', '--filter', `label=autogit.node=${node}`];
  expect(execFileSync('docker', asked, { encoding: 'utf8' })).toBe('');
});
