// Claims of persons on a real server: workflows of their own, which outlive the coordinator's state.

import { describe, expect, it } from 'vitest';
import { Refused } from '../src/client/refused.js';
import { coordinatorId, taskWorkflowId } from '../src/domain/ids.js';
import { edit, replayedFleets } from './support/fleet.js';

const start = replayedFleets(2);

const hand = (id: string, writes: string[], more: { lease?: number; wait?: boolean } = {}) => ({
  id: `hand/${id}`,
  by: id,
  writes,
  lease: 600_000,
  wait: false,
  ...more,
});

describe('the claim of a person', () => {
  it('outlives a coordinator that lost its state, under the same fence', async () => {
    const fleet = await start();
    const { signalbox } = fleet;
    const claimed = await signalbox.hands.claim(hand('ann', ['docs']));
    expect(claimed.phase).toBe('running');
    const before = (await signalbox.overview()).epoch;
    await signalbox.client.workflow.getHandle(coordinatorId(fleet.name)).terminate('test');
    const ids = await fleet.submit('p', [
      { id: 'a', prompt: edit('docs/x', 'x'), role: 'main', writes: ['docs/x'] },
    ]);
    const claims = await fleet.until('another coordinator', async () => {
      const overview = await signalbox.overview().catch(() => undefined);
      return overview && overview.epoch > before && !overview.recovering && overview.claims;
    });
    expect(claims).toMatchObject([{ holder: 'hand/ann', paths: ['docs'], fence: claimed.fence, by: 'ann' }]);
    expect((await signalbox.story('hand/ann'))?.task).toMatchObject({ phase: 'running', code: 'CLAIM_KEPT' });
    expect(await fleet.phase('p/a', 'held')).toMatchObject({ code: 'PATH_HELD', holder: 'hand/ann' });
    const fence = claimed.fence ?? '';
    expect(await signalbox.hands.renew('hand/ann', { fence })).toMatchObject({ fence });
    await signalbox.hands.release('hand/ann', 'ann');
    expect((await signalbox.wait(ids)).get('p/a')?.outcome?.kind).toBe('landed');
  });

  it('is renewed under its fence only, and by claiming the same paths again', async () => {
    const fleet = await start();
    const { signalbox } = fleet;
    const { fence = '' } = await signalbox.hands.claim(hand('ann', ['docs'], { lease: 60_000 }));
    await expect(signalbox.hands.renew('hand/ann', { fence: '1.1' })).rejects.toThrow(
      `hand/ann holds under fence ${fence}: 1.1 is not its fence`,
    );
    await expect(signalbox.hands.renew('hand/bob', { fence })).rejects.toThrow(Refused);
    expect(await signalbox.hands.renew('hand/ann', { fence, lease: 900_000 })).toEqual({
      fence,
      lease: 900_000,
    });
    const left = async () => (await signalbox.overview()).claims[0]?.leaseLeftMs ?? 0;
    expect(await left()).toBeGreaterThan(800_000);
    expect(await signalbox.hands.claim(hand('ann', ['docs'], { lease: 120_000 }))).toMatchObject({
      fence,
      phase: 'running',
    });
    expect(await left()).toBeLessThanOrEqual(120_000);
    await expect(signalbox.hands.claim(hand('ann', ['src']))).rejects.toThrow('release it first');
  });

  it('continues as new in time, and holds on under the same fence', async () => {
    const fleet = await start();
    const { signalbox } = fleet;
    const { fence = '' } = await signalbox.hands.claim(hand('ann', ['docs']));
    const workflow = signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, 'hand/ann'));
    const { runId } = await workflow.describe();
    for (let renewals = 1; (await workflow.describe()).runId === runId; renewals++) {
      expect(renewals).toBeLessThan(200);
      expect(await signalbox.hands.renew('hand/ann', { fence })).toMatchObject({ fence });
    }
    expect(await signalbox.hands.renew('hand/ann', { fence, lease: 900_000 })).toEqual({
      fence,
      lease: 900_000,
    });
    expect((await signalbox.overview()).claims).toMatchObject([{ holder: 'hand/ann', fence }]);
    await signalbox.hands.release('hand/ann', 'ann');
    expect((await signalbox.overview()).claims).toEqual([]);
  });

  it('that runs out is over, and its paths are free after the lock-delay', async () => {
    const fleet = await start();
    const { signalbox } = fleet;
    const { fence = '' } = await signalbox.hands.claim(hand('ann', ['docs'], { lease: 2_000 }));
    const queued = await signalbox.hands.claim(hand('bob', ['docs/x'], { wait: true }));
    expect(queued).toMatchObject({ phase: 'held', holder: 'hand/ann' });
    await fleet.until('bob', async () =>
      (await signalbox.overview()).claims.some(({ holder }) => holder === 'hand/bob'),
    );
    await expect(signalbox.hands.renew('hand/ann', { fence })).rejects.toThrow(
      'nobody holds a claim called hand/ann',
    );
    const workflow = signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, 'hand/ann'));
    expect(await workflow.result()).toMatchObject({ kind: 'cancelled', code: 'CLAIM_EXPIRED' });
  });
});
