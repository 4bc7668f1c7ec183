import { join } from 'node:path';
import { type AgentClient, createClient } from '../../node/local-api/socket-client.ts';
import { formMesh } from '../e2e/mesh.ts';
import type { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { EventTail } from './event-tail.ts';
import { KeptSocket } from './kept-socket.ts';

export interface Agent {
  machine: TestMachine;
  client: AgentClient;
  events: EventTail;
  /** Its number on the LAN, from 1. */
  place: number;
}

const names = ['kang', 'desktop-1', 'desktop-2'];
export const asAgent = (machine: TestMachine, place: number): Agent => ({
  machine,
  client: createClient(machine.home),
  events: new EventTail(join(machine.home, 'agent.log')),
  place,
});

/** Three of our agents, one a machine of the LAN, asked through their own sockets. */
export class Agents {
  readonly rig = new Rig();
  readonly lan: Lan;
  all: Agent[] = [];

  constructor(lan: Lan) {
    this.lan = lan;
  }

  async form(): Promise<void> {
    const machines = await formMesh(this.rig, names, { lan: this.lan });
    this.all = machines.map((machine, index) => asAgent(machine, index + 1));
    await this.leader();
  }

  /** Waits until all of them vote and know one leader. */
  async leader(): Promise<Agent> {
    const name = await until('our agents agree on one leader, and all vote', async () => {
      const all = await Promise.all(this.all.map(({ client }) => client.status()));
      const [first] = all;
      const leader = first?.snapshot.leader?.node;
      const agreed = all.every(
        ({ snapshot }) => snapshot.leader?.node === leader && snapshot.quorum.voters.length === this.all.length,
      );
      return agreed && leader ? leader : null;
    });
    return this.all.find(({ machine }) => machine.name === name) as Agent;
  }

  others(agent: Agent): Agent[] {
    return this.all.filter((other) => other !== agent);
  }

  /** Starts a stopped agent again on its own home. */
  restart(agent: Agent): void {
    agent.machine.join('--executor', 'process', ...asRoot);
  }

  pids(): number[] {
    return this.all.map(({ machine }) => machine.process?.pid as number);
  }

  /** After a part that failed half way: all of them up. */
  async mend(): Promise<void> {
    for (const agent of this.all) {
      const process = agent.machine.process;
      process?.kill('SIGCONT');
      if (process?.exitCode !== null || process.signalCode !== null) this.restart(agent);
    }
    await this.leader();
  }

  async stop(): Promise<void> {
    await this.rig.clean();
  }
}

let lastValue = 200_000;

/** Every write of a bench is of a value never written before, and above the setting's default: a watch waits for at least that. */
export const nextValue = (): number => {
  lastValue += 1;
  return lastValue;
};

/**
 * Tries every 10 ms, at these agents in turn, to have a setting written; done when one write was accepted and stands in
 * another agent's settings. ms since `began` (performance.now), NaN after `limitMs`.
 */
export async function firstDecision(
  at: readonly Agent[],
  began: number,
  limitMs = 30_000,
): Promise<{ accepted: number; seen: number }> {
  const inVain = { accepted: Number.NaN, seen: Number.NaN };
  const sockets = new Map(at.map((agent) => [agent, new KeptSocket(agent.machine.home)]));
  try {
    return (await decided(at, sockets, began, limitMs)) ?? inVain;
  } finally {
    for (const socket of sockets.values()) socket.close();
  }
}

async function decided(
  at: readonly Agent[],
  sockets: ReadonlyMap<Agent, KeptSocket>,
  began: number,
  limitMs: number,
): Promise<{ accepted: number; seen: number } | null> {
  const first = nextValue();
  const accepted: { by: Agent | null; at: number } = { by: null, at: Number.NaN };
  for (let tries = 0; accepted.by === null; tries++) {
    if (performance.now() - began > limitMs) return null;
    const agent = at[tries % at.length] as Agent;
    const value = tries === 0 ? first : nextValue();
    sockets
      .get(agent)
      ?.set(value)
      .then(
        (outcome) => {
          if (outcome.state !== 'done' || accepted.by) return;
          accepted.by = agent;
          accepted.at = performance.now() - began;
        },
        () => {},
      );
    const next = began + (tries + 1) * 10;
    while (accepted.by === null && performance.now() < next) await sleep(1);
  }
  const other = at.find((agent) => agent !== accepted.by) as Agent;
  const shown = await sockets.get(other)?.shows(first, limitMs);
  return shown ? { accepted: accepted.at, seen: performance.now() - began } : null;
}
