import { asPiped } from '../cli/call-name.ts';
import type { Context } from '../cli/context.ts';
import { exit } from '../cli/failure.ts';
import { findGitlabHere, findHostedHere } from '../machine/gitlab-here.ts';
import { readAddress } from '../network/addresses.ts';
import { progressLine, withFix } from '../progress-lines.ts';
import { checkValues } from '../settings/join-options.ts';
import { homeOf, homesToSearch } from '../settings/settings.ts';
import { recallJoin } from '../store/join-memory.ts';
import { readRemoval } from '../store/removal.ts';
import { checkDocker } from './docker-check.ts';
import type { Finding } from './finding.ts';
import { gitlabFindings, leftFindings } from './gitlab-check.ts';
import { checkKept } from './kept-check.ts';
import { checkClock, checkDisk, checkGpus, checkHome, checkTools } from './machine-checks.ts';
import { checkAgent } from './mesh-checks.ts';
import { checkNetwork, nodesOf } from './network-checks.ts';
import { checkProcess } from './process-check.ts';
import { checkSettings } from './settings-check.ts';

/** Looks at this machine and says what to type. Exit 5 when a line says `fail`. */
export async function doctor(context: Context): Promise<number> {
  const { settings, out } = context;
  checkValues(settings);
  const agent = await checkAgent(homesToSearch(settings));
  const home = homeOf(settings);
  const nodes = [...agent.nodes];
  const ofHome = await checkHome(home, agent.isRunning, (ledger, self) => nodes.push(...nodesOf(ledger, self)));
  for (const peer of settings.list('peers')) nodes.push({ name: peer, at: [readAddress(peer, '--peer')] });
  const { isRunning } = agent;
  const wasRemoved = readRemoval(agent.home ?? home) !== null;
  // What the agent was started with counts for it, unless something else is said here.
  const started = isRunning ? recallJoin(agent.home ?? home) : {};
  const isMdnsOff = !settings.isOn('mdns') || (settings.source('mdns') === 'default' && started.mdns?.value === 'off');
  const listen =
    settings.source('listen') === 'default' ? [started.listen?.value ?? []].flat() : settings.list('listen');
  const engine = settings.text('dockerHost') ?? [started.dockerHost?.value ?? null].flat()[0] ?? null;
  const network = { isRunning, nodes, mdns: !isMdnsOff, listen };
  const found: Finding[] = (
    await Promise.all([
      checkTools(),
      checkSettings(settings),
      ofHome,
      checkDisk(home).then((one) => [one]),
      checkKept(agent.home ?? home),
      checkDocker(engine).then((one) => [one]),
      findGitlabHere(engine).then((here) => gitlabFindings(here, agent.lacksGitlab, agent.isUnprotected)),
      findHostedHere(engine).then((hosted) => leftFindings(hosted, agent, wasRemoved)),
      checkProcess(agent.home ?? home),
      checkNetwork(network),
      checkGpus().then((one) => [one]),
      checkClock().then((one) => [one]),
    ])
  ).flat();
  found.push(...agent.findings);
  const named = found.map((one) => (one.state === 'ok' ? one : { ...entryOf(one.what), ...one }));
  const isHealthy = found.every(({ state }) => state !== 'fail');
  if (settings.isOn('json')) out.json({ healthy: isHealthy, findings: named });
  else out.data(doctorView(named, out.isTerminal, out.columns));
  return isHealthy ? exit.ok : exit.unhealthy;
}

/** Of what doctor finds by itself, the entry of the runbook that says what it costs. */
export const doctorEntries: Readonly<Record<string, string>> = {
  ...{ git: 'git-away', docker: 'docker-away', disk: 'disk-full', gpu: 'gpu-problem', clock: 'clock' },
};
const entryOf = (what: string): { runbook?: string } => {
  const runbook = Object.hasOwn(doctorEntries, what) ? doctorEntries[what] : undefined;
  return runbook === undefined ? {} : { runbook };
};

export function doctorView(found: readonly Finding[], isTerminal: boolean, columns = Number.POSITIVE_INFINITY): string {
  if (!isTerminal)
    return found
      .map(({ what, state, sentence, fix, runbook }) =>
        [
          state,
          what,
          sentence,
          fix === null ? '-' : asPiped(fix),
          ...(runbook === undefined ? [] : [asPiped(`autogit-node runbook ${runbook}`)]),
        ].join('\t'),
      )
      .join('\n');
  return found
    .map(({ what, state, sentence, fix, runbook }) => {
      const more = runbook === undefined ? '' : `\n-> what that means: autogit-node runbook ${runbook}`;
      return progressLine(state, what, `${withFix(sentence, fix)}${more}`, { columns });
    })
    .join('\n');
}
