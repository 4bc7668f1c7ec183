import { type Metric, Registry } from 'prom-client';
import type { Spread } from '../../gitlab-bridge/spread.ts';
import { agentFamilies } from './agent-families.ts';
import type { Family, Labels, Seen } from './family.ts';
import { gitlabFamilies } from './gitlab-families.ts';
import { meshFamilies } from './mesh-families.ts';

/*
 * What is scraped. This file, with prom-client and all that makes figures of a StatusSnapshot, is one of its own beside the agent: an
 * agent that nobody scrapes has none of it in memory.
 */

export const familiesOf = (seen: Seen): Family[] => [
  ...agentFamilies(seen),
  ...(seen.mesh === null ? [] : [...meshFamilies(seen.mesh), ...gitlabFamilies(seen.mesh.status)]),
];

/** In Prometheus' text format 0.0.4. */
export function exposition(seen: Seen): Promise<string> {
  const registry = new Registry();
  for (const family of familiesOf(seen)) registry.registerMetric(asMetric(family));
  return registry.metrics();
}

interface Value {
  metricName?: string;
  labels: Labels;
  value: number;
}

/**
 * As prom-client's registry asks for it. Its own classes count by themselves; ours are counted already, where it happens and
 * without it.
 */
function asMetric(family: Family): Metric<string> {
  const { name, help, type } = family;
  const values: readonly Value[] = type === 'histogram' ? bucketsOf(name, family.spread) : family.samples;
  const given = { name, help, type, values, aggregator: 'sum' };
  return { name, get: async () => given } as unknown as Metric<string>;
}

function bucketsOf(name: string, { bounds, counts, sum }: Spread): Value[] {
  let count = 0;
  const buckets = counts.map((more, index) => {
    count += more;
    const le = index < bounds.length ? `${bounds[index]}` : '+Inf';
    return { metricName: `${name}_bucket`, labels: { le }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: {}, value: sum },
    { metricName: `${name}_count`, labels: {}, value: count },
  ];
}
