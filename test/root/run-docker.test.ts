import { afterEach, describe, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { leftOf, makeTestImages, removeNetwork, testImages } from './test-image.ts';

let lab: RunLab;
const node = `run-${process.pid}`;
const executor = new DockerExecutor({ node, note: (run, sentence) => lab.supervisor?.note(run, sentence) });
afterEach(async () => {
  await lab.stop();
  await executor.sweep(new Set());
  removeNetwork(node);
});

describe('a run in a container', () => {
  it('goes from the sources to the artifacts, over a restart of the agent', async () => {
    makeTestImages();
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
default: { image: "${testImages.bash}" }
stages: [a, b]
first:
  stage: a
  hooks: { pre_get_sources_script: ['git config --global some.name "of the hook"; echo "hook in $PWD, $(git config some.name)"; touch $CI_PROJECT_DIR/planted'] }
  cache: { key: deps, paths: [deps/] }
  script:
    - mkdir -p deps/sub; echo dep > deps/f; chmod 711 deps/f; ln deps/f deps/hard; ln -s ../f deps/sub/soft
    - git config some.name || echo no settings of the hook; [ ! -e planted ]
    - cat data.txt; git log --oneline | wc -l; pwd
    - for i in $(seq 1 30); do echo "line $i $CI_JOB_TOKEN"; sleep 0.1; done
    - mkdir out && echo made > out/a.txt
    - '[ "$CI_PROJECT_DIR" = "$CI_BUILDS_DIR/$CI_PROJECT_PATH" ] && echo "image $CI_JOB_IMAGE"; echo "HANDED=on it" >> $GITLAB_ENV'
  after_script: ["echo after $CI_JOB_STATUS, $HANDED"]
  artifacts: { paths: [out/] }
second:
  stage: b
  cache: { key: deps, paths: [deps/] }
  script: ["cat out/a.txt", "cat deps/sub/soft; cat deps/hard; stat -c '%a %u' deps/hard; id -u", "exit 3"]
`,
      'data.txt': 'of the tree\n',
    });
    lab.executor = () => executor;
    await lab.agent();
    const first = await lab.begin();
    await until('lines', async () => (await lab.traceHere(first)).includes('line 3 '));
    await lab.stopAgent();
    await lab.agent();
    const ended = await lab.ended(first);
    const text = plainText(await lab.traceAt(first));
    expect(ended.result, text).toMatchObject({ state: 'success' });
    expect(text).toContain('hook in /builds, of the hook\nFetching changes');
    expect(text).toContain('no settings of the hook\n');
    expect(text).toContain('of the tree\n1\n/builds/root/sample\n');
    expect(text.match(/line \d+ \[MASKED\]\n/g)).toEqual(
      Array.from({ length: 30 }, (_, i) => `line ${i + 1} [MASKED]\n`),
    );
    expect(text).toContain('after success, on it\n');
    expect(text).toContain(`image ${testImages.bash}\n`);
    expect(lab.gitlab.job(first.job)).toMatchObject({ status: 'success', traceCheck: 'match' });
    const second = await lab.begin();
    expect((await lab.ended(second)).result).toMatchObject({ state: 'failed', exitCode: 3, reason: 'script_failure' });
    const words = plainText(await lab.traceAt(second));
    expect(words).toContain('made\n');
    expect(text).toMatch(
      /after success, on it\n[\s\S]*Creating cache deps-protected\.\.\.[\s\S]*kept on kang\nCreated cache\nUploading/,
    );
    // As the job's own user, with its mode; the image has no find and no xargs, so the engine was asked for each name.
    expect(words).toMatch(/Successfully extracted cache\n[\s\S]*\ndep\ndep\n711 (\d+)\n\1\n/);
  });

  it('stands still in its container while nobody is heard, and is ended by a cancel', async () => {
    makeTestImages();
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
only:
  image: "${testImages.bash}"
  script: ["for i in $(seq 1 6000); do echo tick $i; sleep 0.05; done"]
`,
    });
    lab.executor = () => executor;
    await lab.agent();
    const run = await lab.begin();
    await until('ticks', async () => (await lab.traceHere(run)).includes('tick 5\n'));
    expect(await lab.supervisor?.beats()).toMatchObject([{ run: run.run, executor: 'docker' }]);
    lab.leaderAt = () => Number.NEGATIVE_INFINITY;
    await lab.gitlab.down();
    await until('frozen', () => lab.changes.find(({ frozen }) => frozen));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = await lab.traceHere(run);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await lab.traceHere(run)).toBe(before);
    await lab.gitlab.up();
    await until('thawed', () => lab.changes.at(-1)?.frozen === false);
    await lab.admin.cancelJob(lab.projectId, run.job);
    expect((await lab.ended(run)).result).toMatchObject({ state: 'canceled' });
    expect(lab.gitlab.job(run.job)).toMatchObject({ status: 'canceled' });
  });

  it('has services beside it, on a network of its own, over a restart of the agent; nothing of them is left', async () => {
    makeTestImages();
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
variables: { MODE: test, CI_DEBUG_SERVICES: "true" }
only:
  image:
    name: "${testImages.bash}"
    entrypoint: [bash, -c, 'exec 3<>/dev/tcp/second/8080 && echo "the entrypoint has met its service" >/tmp/entry; exec "$@"', entry]
  services:
    - "${testImages.web}"
    - name: "${testImages.web}"
      alias: "second, other"
      variables: { PASSWORD: "of-$MODE" }
      pull_policy: never
    - { name: "${testImages.busybox}", alias: dead, command: [sh, -c, "echo I die; exit 3"] }
    - { name: "${testImages.busybox}", alias: sees, command: [sh, -c, "t=/builds/root/sample; until [ -e $t/asked ]; do sleep 0.1; done; cat $t/data.txt $t/asked > $t/answer.new; mv $t/answer.new $t/answer; sleep 600"] }
  script:
    - cat /tmp/entry
    - echo asked > asked; until [ -e answer ]; do sleep 0.1; done; cat answer
    - 'ask() { exec 3<>/dev/tcp/$1/8080; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; tail -n 1 <&3; }'
    - ask autogit-test-web
    - ask second; ask other
    - for i in $(seq 1 40); do echo tick $i; sleep 0.1; done
    - ask second; exit 5
`,
      'data.txt': 'of the tree\n',
    });
    lab.executor = () => executor;
    await lab.agent();
    const run = await lab.begin();
    await until('ticks', async () => (await lab.traceHere(run)).includes('tick 5\n'));
    const [beat] = (await lab.supervisor?.beats()) ?? [];
    const freezer = beat?.freezer;
    expect(freezer?.kind === 'cgroup' ? freezer.also?.length : 0).toBe(3);
    await lab.stopAgent();
    await lab.agent();
    const ended = await lab.ended(run);
    const text = plainText(await lab.traceAt(run));
    expect(ended.result, text).toMatchObject({ state: 'failed', exitCode: 5 });
    expect(text).toContain(
      `Starting service ${testImages.web} (autogit-test-web)...\nStarting service ${testImages.web} (other)...\n`,
    );
    expect(text).toContain('WARNING: Skipping alias "autogit-test-web" for service "autogit-test-web:1" (services[1])');
    expect(text).toContain('Waiting for services to be up and running (timeout 30 seconds)...\n');
    expect(text).toMatch(
      /WARNING: Service autogit-test:busybox \(dead\) probably didn't start properly\.[^*]*exit code 3[^*]*I die/,
    );
    expect(text.match(/^test .*\.$/gm)).toEqual(['test  .', 'test of-test .', 'test of-test .', 'test of-test .']);
    expect(text.match(/^\[service:second-other\] \S+Z web of test begins$/gm)).toHaveLength(1);
    expect(text).toMatch(/WARNING: service autogit-test:busybox \(dead\) does not run any more \(exit code 3\)\nI die/);
    // What is at /builds is there for all of them, as with gitlab-runner.
    expect(text).toContain('of the tree\nasked\n');
    expect(text).toContain('the entrypoint has met its service\n');
    expect(text.match(/^tick \d+$/gm)).toHaveLength(40);
    await until('nothing left', () => leftOf(run.run).length === 0);
  });

  it('is run by the executor that its tags name, else by the first', async () => {
    makeTestImages();
    const job = `{ image: "${testImages.bash}", script: ['[ -e /.dockerenv ] && echo in a container || echo on the machine'] }`;
    lab = await RunLab.start({ '.gitlab-ci.yml': `a: ${job}\nb: ${job}\n` });
    lab.more = { executors: [executor, new ProcessExecutor({ home: lab.home, cgroups: false })] };
    await lab.agent();
    lab.tags = ['process'];
    expect(await lab.traceOfNext()).toContain('on the machine\n');
    lab.tags = ['gpu'];
    expect(await lab.traceOfNext()).toContain('in a container\n');
  });

  it('says what to do when the image is nowhere', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { image: "127.0.0.1:1/none:1", script: ["true"] }\n' });
    lab.executor = () => executor;
    await lab.agent();
    const run = await lab.begin();
    const ended = await lab.ended(run);
    expect(ended.result).toMatchObject({ state: 'failed', reason: 'image_pull_failure' });
    expect(plainText(await lab.traceAt(run))).toMatch(/ERROR: Job failed: .*127\.0\.0\.1:1\/none:1.*docker pull/);
  });
});
