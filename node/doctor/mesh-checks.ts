import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { type AgentClient, findAgent } from '../local-api/socket-client.ts';
import { readAddress } from '../network/addresses.ts';
import { notApproved } from '../not-approved.ts';
import { type Finding, finding } from './finding.ts';
import type { KnownNode } from './network-checks.ts';

interface AgentState {
  isRunning: boolean;
  /** The id of the mesh that it is in; null where none runs, or it waits. */
  mesh: string | null;
  /** The mesh has no GitLab, and this machine's agent could be told of one. */
  lacksGitlab: boolean;
  /** The one that it is connected to is backed up by nobody of it. */
  isUnprotected: boolean;
  findings: Finding[];
  /** The other nodes, and where they are. */
  nodes: KnownNode[];
  /** Of the agent that runs; undefined when none does. */
  home?: string;
}

/** Of a machine with a door for webhooks. */
function webhookFindings({ gitlab: { webhook }, attention }: StatusSnapshot): Finding[] {
  if (webhook === undefined) return [];
  const { url, lastAt, projects, problem } = webhook;
  if (problem !== null) {
    const fix = attention.find(({ code }) => code === 'webhook-problem')?.fix ?? 'autogit-node gitlab';
    return [finding('webhook', 'warn', problem, fix)];
  }
  const last = lastAt === null ? 'nothing came through it yet' : `the last came ${lastAt}`;
  const fix = lastAt === null ? 'autogit-node webhook test' : null;
  return [finding('webhook', 'ok', `GitLab tells ${url ?? 'it'} of ${plural(projects, 'project')}; ${last}`, fix)];
}

/** What the running agent knows: its phase, GitLab, and what needs attention. Nothing more when none runs. */
export async function checkAgent(homes: readonly string[]): Promise<AgentState> {
  let agent: AgentClient;
  try {
    agent = findAgent(homes);
    const phase = await agent.phase();
    if (phase.phase === 'waiting') {
      const { message, hint } = notApproved(phase);
      return {
        isRunning: true,
        mesh: null,
        lacksGitlab: false,
        isUnprotected: false,
        home: agent.home,
        nodes: [],
        findings: [finding('agent', 'warn', message, hint)],
      };
    }
  } catch (error) {
    if (!(error instanceof AutogitError) || error.code !== 'no-agent') throw error;
    return {
      isRunning: false,
      mesh: null,
      lacksGitlab: false,
      isUnprotected: false,
      nodes: [],
      findings: [finding('agent', 'ok', 'does not run here', 'autogit-node join')],
    };
  }
  const { snapshot } = await agent.status();
  const { mesh, leader, gitlab } = snapshot;
  const findings = [
    leader === null
      ? finding('agent', 'fail', `mesh ${mesh.name} has no leader: ${snapshot.quorum.sentence}`, 'autogit-node status')
      : finding('agent', 'ok', `runs in mesh ${mesh.name}, leader ${leader.node}`),
  ];
  if (gitlab.mode !== 'none') {
    const isWell = gitlab.state === 'healthy';
    const state = isWell ? 'ok' : gitlab.state === 'failed' ? 'fail' : 'warn';
    findings.push(
      finding('gitlab', state, `${gitlab.state} at ${gitlab.url ?? '?'}`, isWell ? null : 'autogit-node status'),
    );
    findings.push(...webhookFindings(snapshot));
  }
  // What the door for webhooks has against it is a line of its own.
  const told = findings.some(({ what, state }) => what === 'webhook' && state === 'warn') ? 'webhook-problem' : null;
  for (const { code, severity, sentence, fix } of snapshot.attention)
    if (severity !== 'info' && code !== told) findings.push(finding('mesh', severity, sentence, fix));
  const nodes = snapshot.nodes
    .filter((node) => !node.self && node.address !== null && node.state !== 'waiting')
    .map(({ node, address }) => ({ name: node, at: [readAddress(address ?? '', '--peer')] }));
  return {
    isRunning: true,
    mesh: mesh.id,
    lacksGitlab: gitlab.mode === 'none',
    isUnprotected: gitlab.mode === 'connected' && gitlab.protected === undefined,
    home: agent.home,
    findings,
    nodes,
  };
}
