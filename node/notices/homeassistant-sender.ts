import { connectAsync, type MqttClient } from 'mqtt';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Notice } from '../../protocol/notices.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { version } from '../version.ts';
import { type Sender, SendFailure } from './notice-sender.ts';

/** Without a word for so long Home Assistant shows all of it as unavailable: that nobody leads, or none reaches the broker. */
const expireSeconds = 300;

interface Entity {
  component: 'sensor' | 'binary_sensor';
  key: string;
  config: Record<string, unknown>;
  state(status: StatusSnapshot): string;
}

const worst = ({ attention }: StatusSnapshot): string =>
  attention.find(({ severity }) => severity === 'fail')?.sentence ??
  attention.find(({ severity }) => severity === 'warn')?.sentence ??
  'nothing';

const entities: readonly Entity[] = [
  {
    component: 'binary_sensor',
    key: 'problem',
    config: { name: 'Problem', device_class: 'problem' },
    state: ({ attention }) => (attention.some(({ severity }) => severity !== 'info') ? 'ON' : 'OFF'),
  },
  {
    component: 'sensor',
    key: 'worst',
    config: { name: 'Worst', icon: 'mdi:alert-circle-outline' },
    state: (status) => worst(status).slice(0, 250),
  },
  {
    component: 'sensor',
    key: 'leader',
    config: { name: 'Leader', icon: 'mdi:crown' },
    state: ({ leader }) => leader?.node ?? 'nobody',
  },
  {
    component: 'sensor',
    key: 'machines',
    config: { name: 'Machines here', icon: 'mdi:server-network', state_class: 'measurement' },
    state: ({ nodes }) => String(nodes.filter(({ state }) => state !== 'gone').length),
  },
  {
    component: 'sensor',
    key: 'running',
    config: { name: 'Jobs running', icon: 'mdi:cog-play', state_class: 'measurement' },
    state: ({ queue }) => String(queue.running),
  },
  {
    component: 'sensor',
    key: 'waiting',
    config: { name: 'Jobs waiting', icon: 'mdi:tray-full', state_class: 'measurement' },
    state: ({ queue }) => String(queue.waiting),
  },
];

const eventTypes = ['broken', 'still', 'fixed', 'several', 'test'];
/** Home Assistant takes no event of a type that it was not told of: a word of a later version stands there, too. */
const typesWith = (notice: Notice | null): string[] => [
  ...new Set([...eventTypes, ...(notice === null ? [] : [notice.state])]),
];

/** Discovery, state and notices of one mesh; what is told again changes nothing. */
export const sendHomeassistant: Sender = async (notice, way, { mesh, status, signal }) => {
  const url = new URL(way.url ?? '');
  const pass = way.secret ?? decodeURIComponent(url.password);
  const user = decodeURIComponent(url.username);
  let client: MqttClient | null = null;
  const end = (): void => void client?.end(true);
  signal.addEventListener('abort', end, { once: true });
  try {
    client = await connectAsync(`${url.protocol}//${url.host}`, {
      ...(user !== '' && { username: user, password: pass }),
      ...{ connectTimeout: noticeTimings.sendMs, reconnectPeriod: 0, clean: true },
    });
    const id = `autogit_${mesh.id.replace(/[^\w]/g, '_').slice(0, 48)}`;
    const device = {
      identifiers: [id],
      name: `autogit-node ${mesh.name}`,
      manufacturer: 'autogit-node',
      sw_version: version,
    };
    for (const { component, key, config } of entities)
      await put(client, `homeassistant/${component}/${id}/${key}/config`, {
        ...config,
        ...{ unique_id: `${id}_${key}`, object_id: `${id}_${key}`, state_topic: `autogit/${id}/${key}` },
        ...{ expire_after: expireSeconds, device },
      });
    await put(client, `homeassistant/event/${id}/notice/config`, {
      ...{ name: 'Notice', unique_id: `${id}_notice`, object_id: `${id}_notice`, state_topic: `autogit/${id}/notice` },
      ...{ event_types: typesWith(notice), icon: 'mdi:bell', device },
    });
    if (status !== null)
      for (const { key, state } of entities) await client.publishAsync(`autogit/${id}/${key}`, state(status), kept);
    if (notice !== null) {
      const { id: of, incident, severity, title, text, fix, state } = notice;
      const said = { event_type: state, id: of, incident, severity, title, text, fix };
      await client.publishAsync(`autogit/${id}/notice`, JSON.stringify(said), { qos: 1 });
    }
    await client.endAsync();
  } catch (error) {
    client?.end(true);
    throw new SendFailure(
      `the broker: ${sentenceOf(error)
        .replaceAll(pass === '' ? '\0' : pass, '…')
        .slice(0, 120)}`,
    );
  } finally {
    signal.removeEventListener('abort', end);
  }
};

const kept = { qos: 1, retain: true } as const;
const put = (client: MqttClient, topic: string, value: object): Promise<unknown> =>
  client.publishAsync(topic, JSON.stringify(value), kept);
