<?php
function inner() { throw new InvalidArgumentException("inner"); }
function outer() {
    try { inner(); } catch (Exception $cause) { throw new RuntimeException("outer", 1, $cause); }
}
outer();
