// What needs no host. Whole batches are tested in a host's sandbox: golden/, and `npm run golden`.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import MyPlugin from './dist/plugin.js';

test('a body holds the row', () => {
  const body = new MyPlugin({ member: 'data' }).body('customers', 'c', '{"id":1}');
  assert.equal(body, '{"table":"customers","op":"c","data":{"id":1}}');
});

test('a member cannot have the name of another', () => {
  for (const member of ['', 'table', 'op']) assert.throws(() => new MyPlugin({ member }), /member/);
});
