import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { agentProcess } from '../local-api/agent-process.ts';
import { notApproved } from '../local-api/not-approved.ts';
import { isOfAnotherUser } from '../local-api/socket-call.ts';
import { type AgentClient, findAgent } from '../local-api/socket-client.ts';
import type { NoticesAnswer } from '../local-api/socket-protocol.ts';
import { readAddress } from '../network/addresses.ts';
import { hasBeats } from '../notices/notice-target.ts';
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
    return [{ ...finding('webhook', 'warn', problem, fix), runbook: 'webhook-problem' }];
  }
  const last = lastAt === null ? 'nothing came through it yet' : `the last came ${lastAt}`;
  const fix = lastAt === null ? 'autogit-node webhook test' : null;
  return [finding('webhook', 'ok', `GitLab tells ${url ?? 'it'} of ${plural(projects, 'project')}; ${last}`, fix)];
}

/** Without a leader no machine tells anybody anything: only what misses a heartbeat rings then. */
export const noticeFindings = (rows: readonly Pick<NoticesAnswer['rows'][number], 'kind'>[]): Finding[] =>
  rows.length === 0 || rows.some(({ kind }) => hasBeats(kind))
    ? []
    : [
        finding(
          'notices',
          'warn',
          'nobody would be told that the mesh has no leader: no machine can know that for certain and say it, so a heartbeat has to be missed',
          'autogit-node notify add heartbeat --url-env VAR',
        ),
      ];

function leaderFinding({ mesh, leader, quorum }: StatusSnapshot): Finding {
  if (leader !== null) return finding('agent', 'ok', `runs in mesh ${mesh.name}, leader ${leader.node}`);
  const sentence = `mesh ${mesh.name} has no leader: ${quorum.sentence}`;
  return { ...finding('agent', 'fail', sentence, 'autogit-node status'), runbook: 'no-leader' };
}

const ofNoMesh = { mesh: null, lacksGitlab: false, isUnprotected: false, nodes: [] };

/** What the running agent knows: its phase, GitLab, and what needs attention. What keeps it from telling is a finding too. */
export async function checkAgent(homes: readonly string[]): Promise<AgentState> {
  let agent: AgentClient | null = null;
  try {
    agent = findAgent(homes);
    return await toldBy(agent);
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    return { ...ofNoMesh, ...(agent && { home: agent.home }), ...silenceOf(error, agent?.home) };
  }
}

/** No agent is no fault; one that hangs, is of another version, or was removed with its machine is one. */
function silenceOf(error: AutogitError, home: string | undefined): Pick<AgentState, 'isRunning' | 'findings'> {
  const { code, message, hint } = error;
  if (code === 'no-agent' && !isOfAnotherUser(error))
    return { isRunning: false, findings: [finding('agent', 'ok', 'does not run here', 'autogit-node join')] };
  return {
    isRunning: home !== undefined && agentProcess(home) !== null,
    findings: [finding('agent', code === 'no-agent' ? 'warn' : 'fail', message, hint)],
  };
}

async function toldBy(agent: AgentClient): Promise<AgentState> {
  const phase = await agent.phase();
  if (phase.phase === 'waiting') {
    const { message, hint } = notApproved(phase);
    return {
      ...ofNoMesh,
      isRunning: true,
      home: agent.home,
      findings: [{ ...finding('agent', 'warn', message, hint), runbook: 'not-approved' }],
    };
  }
  const { snapshot } = await agent.status();
  const { mesh, gitlab } = snapshot;
  const findings = [leaderFinding(snapshot)];
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
    if (severity !== 'info' && code !== told)
      findings.push({ ...finding('mesh', severity, sentence, fix), runbook: code.startsWith('act-') ? 'act' : code });
  // An agent of an earlier version says it otherwise, until it is started anew.
  findings.push(
    ...noticeFindings(
      await agent.notices().then(
        ({ rows }) => rows,
        () => [],
      ),
    ),
  );
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
