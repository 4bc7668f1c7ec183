import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import { ProcessExecutor, userWorkDir } from '../../node/executors/process-executor.ts';
import { removeTree } from '../../node/executors/tree-removal.ts';
import type { KeptTree } from '../../node/ports.ts';
import { keptTree, never, specOf } from '../contract/executor-steps.ts';
import { RunLab } from '../real/run-lab.ts';

let lab: RunLab;
afterEach(async () => {
  await lab.stop();
  await removeTree(userWorkDir(lab.home));
});

it('a tree goes from one run’s own uid to the next one’s; what a job put beside it, or in its way, does not', async () => {
  lab = await RunLab.start({
    '.gitlab-ci.yml': `
variables: { GIT_CLEAN_FLAGS: "none" }
a: { script: ['pwd; id -u; echo of-a >left; ln /etc/hostname hard 2>/dev/null || true; ln -s /etc soft; mkdir -p "$CI_BUILDS_DIR/root/beside"; ln -s /etc "$CI_BUILDS_DIR/etc"; chmod 000 "$CI_BUILDS_DIR/root/beside"'] }
b: { script: ['id -u; cat left; stat -c %u left . soft; ls "$CI_BUILDS_DIR" "$CI_BUILDS_DIR/root"; mv "$CI_PROJECT_DIR" "$CI_BUILDS_DIR/away"; ln -s /etc "$CI_PROJECT_DIR"'] }
c: { script: ['pwd; ls'] }
`,
  });
  lab.executor = () => new ProcessExecutor({ home: lab.home, user: 'auto' });
  await lab.agent();
  const a = await lab.traceOfNext();
  const [, path = '', first] = /\$ pwd.*\n(\/\S+)\n(\d+)\n/.exec(a) ?? [];
  const b = await lab.traceOfNext();
  const second = /\$ id.*\n(\d+)\nof-a\n/.exec(b)?.[1];
  expect(b).toContain('into the tree that a job before left here');
  expect(second).not.toBe(first);
  expect(b).toContain(`of-a\n${second}\n${second}\n${second}\n`);
  expect(b).not.toMatch(/beside\n|^etc$/m);
  // Where the tree should be was a link: nothing of it was kept, and nothing done at its other end.
  const c = await lab.traceOfNext();
  expect(c).toContain(`into a tree that stays here`);
  expect(c).toContain(`$ pwd; ls\n${path}\nJob succeeded`);
  expect(statSync('/etc').uid).toBe(0);
  expect(existsSync('/etc/hostname')).toBe(true);
  expect(statSync('/etc/hostname').uid).toBe(0);
  // Between two runs nobody else can reach it.
  const place = dirname(dirname(dirname(path)));
  await expect.poll(() => statSync(place).mode & 0o777).toBe(0o700);
});

it('git works in it within the limits of its job', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
  const executor = new ProcessExecutor({ home: lab.home, user: 'auto' });
  const place = await executor.prepare(specOf('tree-1', null, { tree: keptTree(), memoryBytes: 256 << 20 }), never);
  const freezer = await place.freezer?.();
  const group = freezer?.kind === 'cgroup' ? freezer.path : 'none';
  const { input, output, ended } = await (place.tree as KeptTree).run(
    'cat /proc/self/cgroup; ls -l /proc/self/fd',
    [],
    {},
    never,
  );
  input.end();
  const said = await text(output as Readable);
  expect(await ended).toMatchObject({ code: 0 });
  expect(said).toContain(`/${basename(group)}\n`);
  expect(said).not.toContain('cgroup.procs');
  await place.remove();
});

it('who still works in it while no run has it leads root nowhere by a link', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
  const executor = new ProcessExecutor({ home: lab.home, user: 'auto' });
  const variables = [
    { key: 'CI_PROJECT_PATH', value: 'group/sample', file: false },
    { key: 'SECRET', value: 'a secret', file: true },
  ];
  const prepared = (run: string) => executor.prepare(specOf(run, null, { tree: keptTree(), variables }), never);
  const first = await prepared('tree-1');
  await first.remove();
  const group = dirname(first.projectDir);
  const elsewhere = join(lab.home, 'elsewhere');
  mkdirSync(elsewhere, { mode: 0o755 });
  rmSync(group, { recursive: true });
  symlinkSync(elsewhere, group);
  const second = await prepared('tree-2');
  expect(readdirSync(elsewhere)).toEqual([]);
  expect(second.tree?.isLeft).toBe(false);
  expect(lstatSync(group).isDirectory()).toBe(true);
  expect(statSync(second.projectDir).uid).toBeGreaterThan(0);
  await second.remove();
  const third = await prepared('tree-3');
  expect(third.tree?.isLeft).toBe(true);
  expect(statSync(join(group, 'sample.tmp', 'SECRET'))).toMatchObject({ uid: statSync(third.projectDir).uid });
  // Only its own user removes in it, and so not all: then none of it is kept.
  mkdirSync(join(group, 'of-root', 'more'), { recursive: true, mode: 0o700 });
  await third.remove();
  expect(existsSync(group)).toBe(false);
});
