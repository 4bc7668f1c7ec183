import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipelineEnd } from '../../e2e/mesh.ts';
import { sleep, until } from '../../e2e/rig.ts';
import { kill, plug, start, unplug } from '../faults.ts';
import { demand, type HostedLab, lastLine, seconds } from './hosted-lab.ts';

export interface LabCase {
  name: string;
  what: string;
  /** What was seen. Throws where something is otherwise than it has to be. */
  run(lab: HostedLab): Promise<string>;
}

const alone = 'this push is on one machine only';
const ciFile = `build: { image: 'autogit-test:bash', script: ['echo made > made.txt'], artifacts: { paths: [made.txt] } }`;

async function deployed(hosted: HostedLab): Promise<string> {
  const { kang, lab, gitlab } = hosted;
  const began = performance.now();
  // Two operators at once.
  const ends = await Promise.all([hosted.deploy(kang), hosted.deploy(lab.machine('desktop-1'))]);
  const took = performance.now() - began;
  for (const { code, stderr } of ends) demand(code === 0, `gitlab deploy ended with ${code}: ${lastLine(stderr)}`);
  await hosted.signIn();
  const { epoch, host } = await hosted.status();
  demand(epoch === 1 && host === 'kang', `two that deployed at once made epoch ${epoch} on ${host}`);
  hosted.container();
  await gitlab.push('rounds', { 'readme.md': 'each push is a round' });
  const project = await gitlab.push('built', { '.gitlab-ci.yml': ciFile });
  const { status, jobs } = await pipelineEnd({ gitlab }, project);
  demand(status === 'success' && jobs.length === 1, `the pipeline ended as ${status} with ${jobs.length} jobs`);
  const synced = await hosted.inSync(['desktop-1', 'desktop-2']);
  return `deployed once by two at once in ${seconds(took)}, pipeline with an artifact success, desktop-1 and desktop-2 in sync after ${seconds(synced)} more; ${await hosted.loss()}`;
}

/** ms, as the issue has it. */
const cableOutMs = 60_000;

async function standbysCable(hosted: HostedLab): Promise<string> {
  const { lab } = hosted;
  const desktop = lab.machine('desktop-1');
  await unplug(lab, desktop);
  const from = performance.now();
  const first = await hosted.push('rounds');
  const next = await hosted.push('rounds');
  for (const { code, stderr } of [first, next]) {
    demand(code === 0, `a push was refused: ${lastLine(stderr)}`);
    demand(!stderr.includes(alone), `desktop-2 is in sync, and the pusher reads: ${lastLine(stderr)}`);
  }
  demand(first.ms < 6000, `the first push without desktop-1 took ${seconds(first.ms)}`);
  await hosted.gitlab.push('while-it-was-out', { 'readme.md': 'made while the cable was out' });
  const said = await hosted.loss();
  demand(!/desktop-1 in-sync/.test(said) && /no push lost/.test(said), `with the cable out: ${said}`);
  await sleep(Math.max(0, cableOutMs - (performance.now() - from)));
  const before = await hosted.whole();
  await plug(lab, desktop);
  const caught = await hosted.inSync(['desktop-1', 'desktop-2']);
  const same = await hosted.nothingLost(before, [desktop, lab.machine('desktop-2')]);
  return `first push ${seconds(first.ms)}, then ${seconds(next.ms)}; "${said}"; back: in sync after ${seconds(caught)}; ${same}`;
}

async function hostsCable(hosted: HostedLab): Promise<string> {
  const { lab, kang } = hosted;
  const before = await hosted.whole();
  const container = hosted.container();
  await unplug(lab, kang);
  const from = performance.now();
  await until('its gate is shut', async () => !(await hosted.isServed()), 10_000);
  const shut = performance.now() - from;
  await sleep(12_000);
  demand(!(await hosted.isServed()), 'GitLab serves without a lease');
  const seen = await hosted.status(lab.machine('desktop-1'));
  demand(seen.host === 'kang' && seen.epoch === before.epoch, `desktop-1 says ${seen.host}, epoch ${seen.epoch}`);
  const words = await hosted.words(lab.machine('desktop-1'));
  await plug(lab, kang);
  const back = await hosted.served();
  demand(hosted.container() === container, 'another container serves');
  await hosted.inSync(['desktop-1', 'desktop-2']);
  return `shut ${seconds(shut)} after, and served ${seconds(back)} after the cable was in again by the same container; desktop-1 said "${words}"; ${await hosted.nothingLost(before)}`;
}

async function agentKilled(hosted: HostedLab): Promise<string> {
  const { lab, kang } = hosted;
  const before = await hosted.whole();
  const [container, began] = [hosted.container(), hosted.startedAt()];
  const from = performance.now();
  await kill(lab, kang, 'agent');
  await until('its gate is shut', async () => !(await hosted.isServed()), 10_000);
  const shut = performance.now() - from;
  demand(shut > 2000 && shut < 7000, `GitLab served for ${seconds(shut)} without its agent`);
  const push = await hosted.push('rounds', 'desktop-2', 10);
  demand(push.code !== 0, 'a push was acknowledged while nobody had a lease');
  await start(lab, kang);
  const back = await hosted.served();
  demand(hosted.container() === container && hosted.startedAt() === began, 'its container was begun anew');
  await hosted.inSync(['desktop-1', 'desktop-2']);
  return `served ${seconds(shut)} more, then frozen; a push failed: "${lastLine(push.stderr)}"; with its agent back served after ${seconds(back)} by the same container; ${await hosted.nothingLost(before)}`;
}

async function engineKilled(hosted: HostedLab): Promise<string> {
  const { lab, kang } = hosted;
  const before = await hosted.whole();
  await kill(lab, kang, 'engine');
  await sleep(5000);
  const served = await hosted.isServed();
  const { state } = await hosted.status();
  const words = await hosted.words();
  const push = served ? await hosted.push('rounds', 'desktop-2', 20) : null;
  await start(lab, kang);
  const back = await hosted.served(120_000);
  await until('it is healthy', async () => (await hosted.status()).state === 'healthy', 60_000);
  hosted.container();
  demand((await hosted.status()).epoch === before.epoch, 'its epoch is another one');
  await hosted.inSync(['desktop-1', 'desktop-2']);
  const while_ = served
    ? `GitLab served on, a push ended with ${push?.code} in ${seconds(push?.ms ?? 0)}`
    : 'not served';
  return `while it was away: ${while_}, state ${state} ("${words}"); with the engine back served after ${seconds(back)}; ${await hosted.nothingLost(before)}`;
}

/** 15 days, ms. */
const aheadMs = 15 * 86_400_000;

/** What makes an agent's clock run ahead: a file that Node reads before the program, as no kernel has a clock for each of us. */
function ahead({ kang }: HostedLab, ms: number): NodeJS.ProcessEnv {
  if (ms === 0) return {};
  const file = join(kang.dir, 'ahead.cjs');
  writeFileSync(
    file,
    `const Real = Date;
globalThis.Date = class Date extends Real {
  constructor(...words) { if (words.length === 0) super(Real.now() + ${ms}); else super(...words); }
  static now() { return Real.now() + ${ms}; }
};
`,
  );
  return { NODE_OPTIONS: `--require ${file}` };
}

async function clockAhead(hosted: HostedLab): Promise<string> {
  const { lab, kang } = hosted;
  const before = await hosted.whole();
  const rounds = await hosted.rounds();
  const told: string[] = [];
  for (const [words, ms] of [
    ['15 days ahead', aheadMs],
    ['and back', 0],
  ] as const) {
    await kill(lab, kang, 'agent');
    // What is pushed by the lease of before would be cut off at its end.
    await until('its gate is shut', async () => !(await hosted.isServed()), 10_000);
    kang.startAgent(lab.boot(kang), [], ahead(hosted, ms));
    const back = await hosted.served();
    // An agent that has just begun has yet to hear how far the copies are.
    const meter = await until('the meter counts', async () => {
      const said = await hosted.loss();
      return / s of all else/.test(said) ? said : null;
    });
    demand(/, \d{1,2} s of all else/.test(meter), `${words}: the meter counts the jump: ${meter}`);
    const push = await hosted.push('rounds');
    demand(push.code === 0, `${words}: a push was refused: ${lastLine(push.stderr)}`);
    await hosted.inSync(['desktop-1', 'desktop-2']);
    const said = await hosted.loss();
    demand(/no push lost, \d{1,2} s of all else/.test(said), `${words}: ${said}`);
    told.push(`${words}: served after ${seconds(back)}, "${meter}", then "${said}"`);
  }
  const kept = new Set(await hosted.rounds());
  const gone = rounds.filter((round) => !kept.has(round));
  // Those of two minutes are all kept, and this case takes less.
  demand(gone.length < rounds.length / 2, `${gone.length} of ${rounds.length} rounds of before are gone`);
  return `${told.join('; ')}; ${rounds.length - gone.length} of ${rounds.length} rounds of before are there; ${await hosted.nothingLost(before, [lab.machine('desktop-1')])}`;
}

export const machineCases: readonly LabCase[] = [
  { name: 'deploy', what: 'deployed by two at once, a push, a pipeline, copies', run: deployed },
  { name: 'cable', what: "a standby's cable out for a minute", run: standbysCable },
  { name: 'host-cable', what: "the host's cable out", run: hostsCable },
  { name: 'agent', what: "the host's agent killed", run: agentKilled },
  { name: 'engine', what: "the host's Docker Engine killed", run: engineKilled },
  { name: 'clock', what: "the host's clock 15 days ahead, and back", run: clockAhead },
];
