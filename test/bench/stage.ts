import type { Lan } from '../e2e/namespaces.ts';
import type { Agents } from './agents.ts';
import type { Etcd } from './etcd.ts';

/** What the rows of the failover table are measured on. Each row leaves it as it found it: all up, etcd frozen. */
export interface Stage {
  lan: Lan;
  agents: Agents;
  etcd: Etcd;
  fastEtcd: Etcd;
  trials: number;
  stressSeconds: number;
  /** ms of etcd's outages after kill -9, in this run: what a planned hand-over is measured against, too. */
  etcdDeaths: number[];
  say(line: string): void;
}
