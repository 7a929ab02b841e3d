//! The operation of a call, as an atom.

use rate_limiter_distributed::Op;

atom_enum!(OpTerm => Op { Take = Take, Peek = Peek, Refund = Refund, Reset = Reset });
